/* Writes all of 16 MiB that may come in huge pages of 2 MiB.
 *
 * Expected: 8 page faults in huge, which bring in 4096 pages.
 */
#include "victim.h"
#include <sys/mman.h>

#define HUGE (2ul << 20)

OPAQUE static void huge(char *at) {
    for (size_t byte = 0; byte < 8 * HUGE; byte += 4096) at[byte] = 1;
    sink(at);
}

int main(void) {
    char *wide = mmap(NULL, 9 * HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (wide == MAP_FAILED) victim_fail("mmap");
    char *at = (char *)(((uintptr_t)wide + HUGE - 1) & ~(HUGE - 1));
    if (madvise(at, 8 * HUGE, MADV_HUGEPAGE) != 0) victim_fail("no huge pages in this kernel");
    victim_ready();
    huge(at);
    victim_done();
    return 0;
}
