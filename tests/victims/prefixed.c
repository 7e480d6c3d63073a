/* Uses an allocator whose functions have a prefix (linked with prefixed_library, same PREFIX).
 *
 * Expected from use_prefixed(): live malloc 1000 + calloc 2000 + realloc 10 -> 3000 = 6000 bytes, 3 blocks; a fourth is
 * freed.
 */
#include "victim.h"

#define JOIN2(prefix, name) prefix##name
#define JOIN(prefix, name) JOIN2(prefix, name)

void *JOIN(PREFIX, malloc)(size_t);
void *JOIN(PREFIX, calloc)(size_t, size_t);
void *JOIN(PREFIX, realloc)(void *, size_t);
void JOIN(PREFIX, free)(void *);

OPAQUE static void use_prefixed(void) {
    victim_check(JOIN(PREFIX, malloc)(opaque(1000)), "malloc");
    victim_check(JOIN(PREFIX, calloc)(opaque(2), opaque(1000)), "calloc");
    void *small = victim_check(JOIN(PREFIX, malloc)(opaque(10)), "malloc");
    victim_check(JOIN(PREFIX, realloc)(small, opaque(3000)), "realloc");
    JOIN(PREFIX, free)(victim_check(JOIN(PREFIX, malloc)(opaque(4000)), "malloc"));
}

int main(void) {
    victim_ready();
    use_prefixed();
    victim_done();
    return 0;
}
