/* Maps 50 pages, unmaps 20 of them and ends: mapped by held_at_end 30 pages of 4096 bytes. */
#include "victim.h"
#include <sys/mman.h>

#define PAGE 4096ul

OPAQUE static void held_at_end(void) {
    char *at = mmap(NULL, opaque(50 * PAGE), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED || munmap(at, 20 * PAGE) != 0) victim_fail("mmap");
    sink(at);
}

int main(void) {
    victim_ready();
    held_at_end();
    victim_done();
    return 0;
}
