/* Touches 1000 fresh pages again and again, each even one in even(), each odd one in odd(); the rounds are the
 * argument.
 *
 * Expected: 1000 page faults a round, which "done" tells, half of them from each function.
 */
#include "victim.h"
#include <sys/mman.h>

#define PAGE 4096ul
#define PAGES 1000ul

OPAQUE static void even(char *at) { *at = 1; sink(at); }
OPAQUE static void odd(char *at) { *at = 1; sink(at); }

int main(int argc, char **argv) {
    unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 1;
    char *at = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED || madvise(at, PAGES * PAGE, MADV_NOHUGEPAGE) != 0) _exit(96);
    victim_ready();
    for (unsigned long round = 0; round < rounds; round++) {
        for (unsigned long page = 0; page < PAGES; page += 2) {
            even(at + page * PAGE);
            odd(at + (page + 1) * PAGE);
        }
        if (madvise(at, PAGES * PAGE, MADV_DONTNEED) != 0) _exit(95);
    }
    char line[64];
    snprintf(line, sizeof line, "done %lu", rounds * PAGES);
    victim_done_with(line);
    return 0;
}
