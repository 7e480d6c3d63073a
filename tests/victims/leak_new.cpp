// leak_new FUNCTION [N]: leaks N blocks (1 unless given) of exactly 30000 bytes with one form of operator new.
//
// Expected: live 30000 * N bytes, N blocks, all from leak_FUNCTION (under glibc the allocating call is
// made by operator new in libstdc++; an allocator that has its own operator new is called directly).
#include <new>
#include "victim.h"

static const size_t SIZE = 30000;


OPAQUE static void *leak_new() { return sink(::operator new(opaque(SIZE))); }
OPAQUE static void *leak_new_array() { return sink(new char[opaque(SIZE)]); }
OPAQUE static void *leak_new_nothrow() { return sink(::operator new(opaque(SIZE), std::nothrow)); }
OPAQUE static void *leak_new_array_nothrow() { return sink(new (std::nothrow) char[opaque(SIZE)]); }
// libstdc++ rounds the size up to a whole number of alignments: 30000 = 1875 * 16 needs none.
OPAQUE static void *leak_new_aligned() { return sink(::operator new(opaque(SIZE), std::align_val_t(16))); }

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void *(*leak)();
    } functions[] = {
        {"new", leak_new},
        {"new_array", leak_new_array},
        {"new_nothrow", leak_new_nothrow},
        {"new_array_nothrow", leak_new_array_nothrow},
        {"new_aligned", leak_new_aligned},
    };
    void *(*leak)() = nullptr;
    size_t count = argc > 2 ? strtoul(argv[2], nullptr, 10) : 1;
    for (const auto &function : functions)
        if (argc > 1 && strcmp(function.name, argv[1]) == 0) leak = function.leak;
    if (leak == nullptr) victim_fail("no such function");
    victim_ready();
    for (size_t i = 0; i < count; i++) victim_check(leak(), argv[1]);
    victim_done();
    return 0;
}
