/* nested_call: an allocator whose functions call the C library's, as wrappers do: the outer call alone counts.
 *
 * Expected: live 10 * 100 bytes, 10 blocks, through outer() alone; 15 calls of malloc are made inside je_malloc.
 */
#include "victim.h"

OPAQUE void *je_malloc(size_t size) { return sink(malloc(size)); }
OPAQUE void je_free(void *block) { free(sink(block)); }

OPAQUE static void outer(void) {
    void *blocks[15];
    for (int i = 0; i < 15; i++) blocks[i] = victim_check(je_malloc(opaque(100)), "je_malloc");
    for (int i = 0; i < 5; i++) je_free(blocks[i]);
}

int main(void) {
    victim_ready();
    outer();
    victim_done();
    return 0;
}
