// Maps many ranges that cannot be joined, and touches every page: ranges COUNT PAGES_EACH.
#include "victim.h"
#include <sys/mman.h>

#define PAGE 4096ul

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    size_t count = strtoul(argv[1], NULL, 10), bytes = strtoul(argv[2], NULL, 10) * PAGE;
    victim_ready();
    // A page that is not mapped lies between any two of them.
    char *at = mmap(NULL, count * (bytes + PAGE), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED || munmap(at, count * (bytes + PAGE)) != 0) victim_fail("mmap");
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_POPULATE;
    for (size_t range = 0; range < count; range++, at += bytes + PAGE)
        if (mmap(at, bytes, PROT_READ | PROT_WRITE, flags, -1, 0) != at) victim_fail("mmap");
    victim_done();
    return 0;
}
