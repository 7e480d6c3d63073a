/* SIZE MiB in transparent huge pages, where the kernel gives them: one byte of every 64 KiB is written. */
#include "victim.h"

#include <sys/mman.h>

int main(int argc, char **argv) {
    size_t size = (size_t)(argc > 1 ? atoi(argv[1]) : 64) << 20, huge = 2 << 20;
    char *pages = mmap(NULL, size + huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) victim_fail("mmap");
    pages += huge - (uintptr_t)pages % huge;
    if (madvise(pages, size, MADV_HUGEPAGE) != 0) victim_fail("madvise");
    for (size_t at = 0; at < size; at += 64 << 10) pages[at] = 1;
    victim_ready();
    victim_done();
    return 0;
}
