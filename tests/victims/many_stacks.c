/* many_stacks BITS [BLOCKS]: leaks BLOCKS (1 unless given) blocks of 100 bytes from each of 2^BITS different call
 * stacks: each bit of a number chooses between two call sites in descend().
 *
 * Expected: 2^BITS stacks, each 100 * BLOCKS bytes in BLOCKS blocks.
 */
#include "victim.h"

OPAQUE static void *leak_here(void) { return victim_check(malloc(opaque(100)), "malloc"); }

OPAQUE static void *descend(unsigned path, int bits) {
    if (bits == 0) return sink(leak_here());
    /* The empty statement keeps the two calls from being merged. */
    if (path & 1) {
        void *block = sink(descend(path >> 1, bits - 1));
        __asm__ volatile("nop");
        return block;
    }
    return sink(descend(path >> 1, bits - 1));
}

int main(int argc, char **argv) {
    int bits = argc > 1 ? atoi(argv[1]) : 8;
    size_t blocks = argc > 2 ? strtoul(argv[2], NULL, 10) : 1;
    victim_ready();
    for (size_t i = 0; i < blocks; i++)
        for (unsigned path = 0; path < 1u << bits; path++) descend(path, bits);
    victim_done();
    return 0;
}
