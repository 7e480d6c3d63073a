/* fill_live BLOCKS SIZE: makes BLOCKS blocks of SIZE bytes from fill(), says "filled", waits, frees them all.
 *
 * Expected at "filled": BLOCKS * SIZE bytes, BLOCKS blocks, tracked or named as lost; at "done": 0 and 0.
 * (The array that holds them is mapped, not allocated.)
 */
#include <sys/mman.h>
#include "victim.h"

OPAQUE static void *fill(size_t size) { return victim_check(malloc(size), "malloc"); }

int main(int argc, char **argv) {
    if (argc < 3) victim_fail("a count and a size wanted");
    size_t count = strtoul(argv[1], NULL, 10), size = strtoul(argv[2], NULL, 10);
    void **blocks = (void **)mmap(NULL, count * sizeof *blocks, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (blocks == MAP_FAILED) victim_fail("mmap");
    victim_ready();
    for (size_t i = 0; i < count; i++) blocks[i] = fill(size);
    victim_step("filled");
    for (size_t i = 0; i < count; i++) free(sink(blocks[i]));
    victim_done();
    return 0;
}
