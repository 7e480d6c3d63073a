/* Reads 64 pages of a file, the argument, which the page cache holds no longer.
 *
 * Expected: 64 page faults in from_disk, all of them major, each bringing in a page.
 */
#include "victim.h"
#include <fcntl.h>
#include <sys/mman.h>

#define PAGE 4096ul
#define PAGES 64ul

OPAQUE static void from_disk(volatile char *at) {
    for (size_t page = 0; page < PAGES; page++) (void)at[page * PAGE];
}

int main(int argc, char **argv) {
    int file = argc > 1 ? open(argv[1], O_RDONLY) : -1;
    if (file < 0) victim_fail("open");
    victim_ready();
    char *at = mmap(NULL, PAGES * PAGE, PROT_READ, MAP_PRIVATE, file, 0);
    /* Nothing is read ahead, nothing is left from before. */
    if (at == MAP_FAILED || madvise(at, PAGES * PAGE, MADV_RANDOM) != 0) _exit(96);
    if (posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED) != 0) _exit(95);
    from_disk(at);
    victim_done();
    return 0;
}
