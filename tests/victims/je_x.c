/* Calls jemalloc's extended functions (linked with libjemalloc).
 *
 * Expected from use_je(): live mallocx 1000, mallocx zeroed and aligned 2000, rallocx 100 -> 3000: 6000 bytes, 3
 * blocks; two more blocks are released by dallocx and sdallocx.
 */
#include "victim.h"

void *mallocx(size_t, int);
void *rallocx(void *, size_t, int);
void dallocx(void *, int);
void sdallocx(void *, size_t, int);

/* MALLOCX_ALIGN(64) | MALLOCX_ZERO, as in jemalloc's manual: log2 of the alignment, and bit 6. */
#define ALIGN_64_ZERO (6 | 0x40)

OPAQUE static void use_je(void) {
    victim_check(mallocx(opaque(1000), 0), "mallocx");
    victim_check(mallocx(opaque(2000), ALIGN_64_ZERO), "mallocx aligned");
    victim_check(rallocx(victim_check(mallocx(opaque(100), 0), "mallocx"), opaque(3000), 0), "rallocx");
    dallocx(victim_check(mallocx(opaque(4000), 0), "mallocx"), 0);
    sdallocx(victim_check(mallocx(opaque(5000), 0), "mallocx"), 5000, 0);
}

int main(void) {
    victim_ready();
    use_je();
    victim_done();
    return 0;
}
