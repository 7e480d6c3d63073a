/* Grows in three ways at once, ROUNDS times: heap blocks, mappings of its own, and pages that it had before.
 *
 *   grow_parts ROUNDS
 *
 * A round keeps 10 blocks of 1,000 bytes and one of 200,000, maps 64 KiB of which it writes to half, and touches 32 KiB
 * of an array of 64 MiB. It also frees a block that it had before the rounds. Expected of 100 rounds: 1,000 blocks and
 * 1,000,000 bytes on one line of keep(), 100 blocks and 20,000,000 bytes on another, 3,200 KiB of mappings in memory
 * (6,400 KiB mapped), 3,200 KiB of bss.
 */
#include "victim.h"

#include <sys/mman.h>

static char had_before[64 << 20];

OPAQUE static void keep_small(void) {
    memset(sink(victim_check(malloc(opaque(1000)), "malloc")), 1, 1000);
}

OPAQUE static void keep_large(void) {
    memset(sink(victim_check(malloc(opaque(200000)), "malloc")), 1, 200000);
}

OPAQUE static void map_own(void) {
    char *pages = mmap(NULL, 64 << 10, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) victim_fail("mmap");
    memset(pages, 1, 32 << 10);
}

int main(int argc, char **argv) {
    int rounds = argc > 1 ? atoi(argv[1]) : 100;
    char *before = victim_check(malloc(opaque(5000)), "malloc");
    victim_ready();
    for (int round = 0; round < rounds; round++) {
        for (int block = 0; block < 10; block++) keep_small();
        keep_large();
        map_own();
        memset(had_before + (size_t)round * (32 << 10), 1, 32 << 10);
    }
    free(before);
    victim_step("grown");
    victim_done();
    return 0;
}
