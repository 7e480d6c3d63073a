// Every form of operator new with its matching delete; run plain and with an allocator preloaded.
//
// 1000 rounds of eight forms; in the last round everything stays.
// Expected: live 8 blocks, 100 + 200 + 300 + 400 + 512 + 640 + 700 + 800 = 3652 bytes from make(); prints "done 3652
// 8".
#include <new>
#include "victim.h"

static const size_t SIZES[8] = {100, 200, 300, 400, 512, 640, 700, 800};
static const std::align_val_t WIDE = std::align_val_t(64);

OPAQUE static void *make(int form) {
    size_t size = opaque(SIZES[form]);
    switch (form) {
    case 0: return ::operator new(size);
    case 1: return ::operator new[](size);
    case 2: return ::operator new(size, std::nothrow);
    case 3: return ::operator new[](size, std::nothrow);
    case 4: return ::operator new(size, WIDE);
    case 5: return ::operator new[](size, WIDE);
    case 6: return ::operator new(size);
    default: return ::operator new[](size);
    }
}

OPAQUE static void unmake(int form, void *block) {
    switch (form) {
    case 0: return ::operator delete(block);
    case 1: return ::operator delete[](block);
    case 2: return ::operator delete(block, std::nothrow);
    case 3: return ::operator delete[](block, std::nothrow);
    case 4: return ::operator delete(block, WIDE);
    case 5: return ::operator delete[](block, SIZES[5], WIDE);
    case 6: return ::operator delete(block, SIZES[6]);
    default: return ::operator delete[](block, SIZES[7]);
    }
}

int main() {
    victim_ready();
    for (int round = 0; round < 1000; round++) {
        void *blocks[8];
        for (int form = 0; form < 8; form++) blocks[form] = victim_check(make(form), "new");
        if (round == 999) break;
        for (int form = 0; form < 8; form++) unmake(form, sink(blocks[form]));
    }
    victim_done_with("done 3652 8");
    return 0;
}
