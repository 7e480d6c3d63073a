// operator new fails and throws std::bad_alloc, 500 times in each form; each must be caught.
//
// Run plain and with tcmalloc or jemalloc preloaded (they have an operator new of their own; mimalloc 2.0, being C,
// aborts instead of throwing, traced or not). Expected: live 5000 bytes in 1 block from keep();
// prints "done 2000"; exit code 42.
#include <new>
#include "victim.h"

static const size_t HUGE_SIZE = (size_t)1 << 62;

OPAQUE static void keep() { victim_check(::operator new(opaque(5000)), "new"); }

OPAQUE static void *ask(int form) {
    switch (form) {
    case 0: return ::operator new(opaque(HUGE_SIZE));
    case 1: return ::operator new[](opaque(HUGE_SIZE));
    case 2: return ::operator new(opaque(HUGE_SIZE), std::align_val_t(128));
    default: return ::operator new[](opaque(HUGE_SIZE), std::align_val_t(128));
    }
}

OPAQUE static int attempt(int form) {
    try {
        sink(ask(form));
    } catch (const std::bad_alloc &) {
        return 1;
    }
    return 0;
}

int main() {
    attempt(0);
    victim_ready();
    keep();
    int caught = 0;
    for (int round = 0; round < 2000; round++) caught += attempt(round % 4);
    char line[64];
    snprintf(line, sizeof line, "done %d", caught);
    victim_done_with(line);
    return caught == 2000 ? 42 : 1;
}
