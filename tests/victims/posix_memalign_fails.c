/* posix_memalign that fails must record nothing, whatever *memptr holds; one that succeeds must count.
 *
 * *memptr holds the address of a live block of 1234 bytes (from stays) while the calls fail:
 *   alignment 3 (EINVAL), alignment 0 (EINVAL), size PTRDIFF_MAX (ENOMEM), each 100 times.
 * Also malloc, calloc (overflow), aligned_alloc and memalign that fail, 100 times each.
 * Expected: live 1234 + 4321 = 5555 bytes, 2 blocks; 4321 from succeeds.
 */
#include <errno.h>
#include <malloc.h>
#include "victim.h"

OPAQUE static void *stays(void) { return victim_check(malloc(opaque(1234)), "malloc"); }

OPAQUE static void fails(void *decoy) {
    for (int i = 0; i < 100; i++) {
        void *pointer = decoy;
        if (posix_memalign(&pointer, opaque(3), opaque(100)) != EINVAL) victim_fail("alignment 3");
        if (posix_memalign(&pointer, opaque(0), opaque(100)) != EINVAL) victim_fail("alignment 0");
        if (posix_memalign(&pointer, opaque(64), opaque(PTRDIFF_MAX)) != ENOMEM) victim_fail("huge size");
        if (pointer != decoy) victim_fail("*memptr changed");
        if (sink(malloc(opaque(PTRDIFF_MAX))) != NULL) victim_fail("malloc");
        if (sink(calloc(opaque(SIZE_MAX / 2), opaque(3))) != NULL) victim_fail("calloc");
        if (sink(aligned_alloc(opaque(64), opaque(PTRDIFF_MAX))) != NULL) victim_fail("aligned_alloc");
        if (sink(memalign(opaque(64), opaque(PTRDIFF_MAX))) != NULL) victim_fail("memalign");
    }
}

OPAQUE static void succeeds(void) {
    void *pointer = NULL;
    if (posix_memalign(&pointer, 128, opaque(4321)) != 0) victim_fail("posix_memalign");
    sink(pointer);
}

int main(void) {
    victim_ready();
    fails(stays());
    succeeds();
    victim_done();
    return 0;
}
