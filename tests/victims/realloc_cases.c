/* Every way that realloc can go, each from a function of its own.
 *
 * Expected live (bytes, blocks), by the function that made the final block:
 *   grow          100 -> 5000                                   5000 1
 *   shrink        5000 -> 100                                    100 1
 *   grow_mapped   200000 -> 400000 (mmapped: mremap)          400000 1
 *   fail_huge     700, realloc to PTRDIFF_MAX fails, old stays   700 1  (made by fail_huge_old)
 *   to_zero       900 -> 0 frees (glibc)                           0 0
 *   from_null     realloc(NULL, 300)                             300 1
 *   array_ok      reallocarray 10*10 -> 20*30                    600 1
 *   array_overflow reallocarray overflows, old of 1100 stays    1100 1  (made by array_overflow_old)
 *   many          1000 blocks: 10 -> 20 -> ... -> 100 bytes   100000 1000
 *   freed         malloc 50, realloc 60, free                      0 0
 *   null_zero     realloc(NULL, 0)                                 0 1
 * Together: 507800 bytes, 1008 blocks. With a libc where realloc(p, 0) returns a block, to_zero holds 0 bytes in 1
 * block more.
 */
#include <errno.h>
#include "victim.h"

#define OLD(name, size) \
    OPAQUE static void *name##_old(void) { return victim_check(malloc(opaque(size)), #name); }

OLD(grow, 100)
OPAQUE static void grow(void) { victim_check(realloc(grow_old(), opaque(5000)), "grow"); }
OLD(shrink, 5000)
OPAQUE static void shrink(void) { victim_check(realloc(shrink_old(), opaque(100)), "shrink"); }
OLD(grow_mapped, 200000)
OPAQUE static void grow_mapped(void) { victim_check(realloc(grow_mapped_old(), opaque(400000)), "grow_mapped"); }

OLD(fail_huge, 700)
OPAQUE static void fail_huge(void) {
    char *old = fail_huge_old();
    old[0] = 'k';
    if (sink(realloc(old, opaque(PTRDIFF_MAX))) != NULL) victim_fail("a huge realloc succeeded");
    if (old[0] != 'k') victim_fail("the old block changed");
}

OLD(to_zero, 900)
OPAQUE static void to_zero(void) { sink(realloc(to_zero_old(), opaque(0))); }

OPAQUE static void from_null(void) { victim_check(realloc(NULL, opaque(300)), "from_null"); }

OPAQUE static void *array_ok_old(void) { return victim_check(reallocarray(NULL, opaque(10), opaque(10)), "array"); }
OPAQUE static void array_ok(void) { victim_check(reallocarray(array_ok_old(), opaque(20), opaque(30)), "array_ok"); }

OLD(array_overflow, 1100)
OPAQUE static void array_overflow(void) {
    void *old = array_overflow_old();
    errno = 0;
    if (sink(reallocarray(old, opaque(SIZE_MAX / 2), opaque(3))) != NULL) victim_fail("an overflow succeeded");
    if (errno != ENOMEM) victim_fail("no ENOMEM");
}

OPAQUE static void many(void) {
    static void *blocks[1000];
    for (int size = 10; size <= 100; size += 10)
        for (int i = 0; i < 1000; i++) blocks[i] = victim_check(realloc(blocks[i], opaque((size_t)size)), "many");
}

OPAQUE static void freed(void) {
    void *block = victim_check(malloc(opaque(50)), "freed");
    free(victim_check(realloc(block, opaque(60)), "freed"));
}

OPAQUE static void null_zero(void) { victim_check(realloc(NULL, opaque(0)), "null_zero"); }

int main(void) {
    victim_ready();
    grow();
    shrink();
    grow_mapped();
    fail_huge();
    to_zero();
    from_null();
    array_ok();
    array_overflow();
    many();
    freed();
    null_zero();
    free(NULL);
    victim_done();
    return 0;
}
