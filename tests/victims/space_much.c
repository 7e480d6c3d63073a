/* Maps 5,000 pages of 4096 bytes, and nothing else. */
#include "victim.h"
#include <sys/mman.h>

int main(void) {
    victim_ready();
    void *at = mmap(NULL, opaque(5000 * 4096ul), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) victim_fail("mmap");
    sink(at);
    victim_done();
    return 0;
}
