/* Calls mimalloc's own functions (linked with libmimalloc).
 *
 * Expected from use_mi(): live
 *   mi_malloc 1000, mi_calloc 20 * 50 = 1000, mi_zalloc 1000, mi_realloc 100 -> 2000, mi_malloc_aligned 1000 at 64;
 *   and one of each freed: 6000 bytes, 5 blocks. And mi_strdup 500, whose size no argument tells: it is not traced, and
 *   memlens says so; its free is one of an unknown block.
 */
#include "victim.h"

void *mi_malloc(size_t);
void *mi_calloc(size_t, size_t);
void *mi_zalloc(size_t);
void *mi_realloc(void *, size_t);
void *mi_malloc_aligned(size_t, size_t);
char *mi_strdup(const char *);
void mi_free(void *);

static char text[500];

OPAQUE static void use_mi(int keep) {
    void *blocks[6] = {
        mi_malloc(opaque(1000)),
        mi_calloc(opaque(20), opaque(50)),
        mi_zalloc(opaque(1000)),
        mi_realloc(victim_check(mi_malloc(opaque(100)), "mi_malloc"), opaque(2000)),
        mi_malloc_aligned(opaque(1000), opaque(64)),
        mi_strdup(text),
    };
    for (int i = 0; i < 6; i++) {
        victim_check(blocks[i], "mimalloc");
        if (!keep) mi_free(blocks[i]);
    }
}

int main(void) {
    memset(text, 'x', sizeof text - 1);
    victim_ready();
    use_mi(0);
    use_mi(1);
    victim_done();
    return 0;
}
