/* BLOCKS blocks of 1,000 bytes (chunks of 1,008), of which every hundredth stays: then malloc_trim.
 *
 *   fragmented BLOCKS
 *
 * "fragmented USED FREE" has uordblks and fordblks of mallinfo2, "trimmed BEFORE AFTER" the resident pages around
 * malloc_trim(0).
 */
#include "victim.h"

#include <fcntl.h>
#include <malloc.h>

/* Resident pages, without stdio: that allocates. */
static long resident(void) {
    char text[128] = {0};
    int file = open("/proc/self/statm", O_RDONLY);
    if (file < 0 || read(file, text, sizeof text - 1) <= 0) victim_fail("statm");
    close(file);
    return atol(strchr(text, ' ') + 1);
}

int main(int count, char **words) {
    char line[128];
    if (count != 2) victim_fail("fragmented BLOCKS");
    size_t blocks = strtoul(words[1], NULL, 10);
    char **held = victim_check(calloc(blocks, sizeof *held), "calloc");
    victim_ready();
    for (size_t i = 0; i < blocks; i++) {
        held[i] = victim_check(malloc(opaque(1000)), "malloc");
        memset(held[i], 1, 1000);
    }
    /* The last one stays, too: otherwise the heap shrinks by itself. */
    for (size_t i = 0; i + 1 < blocks; i++) {
        if (i % 100 != 0) free(held[i]);
    }
    struct mallinfo2 info = mallinfo2();
    snprintf(line, sizeof line, "fragmented %zu %zu", info.uordblks, info.fordblks);
    victim_step(line);
    long before = resident();
    malloc_trim(0);
    snprintf(line, sizeof line, "trimmed %ld %ld", before, resident());
    victim_step(line);
    victim_done();
    return 0;
}
