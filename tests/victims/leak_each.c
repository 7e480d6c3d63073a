/* leak_each FUNCTION [N]: leaks N blocks (1 unless given) of exactly 30000 bytes with FUNCTION.
 *
 * Expected: live 30000 * N bytes, N blocks, all from one stack:
 *   leak_FUNCTION <- leak_inner <- leak_outer <- main
 * (strdup, strndup: strdup stands before leak_FUNCTION.) Prints "done 0xADDRESS" of the last block.
 */
#include <malloc.h>
#include "victim.h"

#define SIZE 30000

static char text[SIZE];

OPAQUE static void *leak_malloc(void) { return sink(malloc(opaque(SIZE))); }
OPAQUE static void *leak_calloc(void) { return sink(calloc(opaque(30), opaque(1000))); }
OPAQUE static void *leak_realloc(void) { return sink(realloc(NULL, opaque(SIZE))); }
OPAQUE static void *leak_reallocarray(void) { return sink(reallocarray(NULL, opaque(300), opaque(100))); }
OPAQUE static void *leak_aligned_alloc(void) { return sink(aligned_alloc(16, opaque(SIZE))); }
OPAQUE static void *leak_memalign(void) { return sink(memalign(64, opaque(SIZE))); }
OPAQUE static void *leak_valloc(void) { return sink(valloc(opaque(SIZE))); }
OPAQUE static void *leak_strdup(void) { return sink(strdup(text)); }
OPAQUE static void *leak_strndup(void) { return sink(strndup(text, opaque(SIZE - 1))); }
OPAQUE static void *leak_posix_memalign(void) {
    void *pointer = NULL;
    return posix_memalign(&pointer, 64, opaque(SIZE)) == 0 ? sink(pointer) : NULL;
}
#ifdef __GLIBC__
/* The usable size is a whole number of pages; what was asked for is 30000. */
OPAQUE static void *leak_pvalloc(void) { return sink(pvalloc(opaque(SIZE))); }
#endif

static const struct {
    const char *name;
    void *(*leak)(void);
} FUNCTIONS[] = {
    {"malloc", leak_malloc},
    {"calloc", leak_calloc},
    {"realloc", leak_realloc},
    {"reallocarray", leak_reallocarray},
    {"posix_memalign", leak_posix_memalign},
    {"aligned_alloc", leak_aligned_alloc},
    {"memalign", leak_memalign},
    {"valloc", leak_valloc},
    {"strdup", leak_strdup},
    {"strndup", leak_strndup},
#ifdef __GLIBC__
    {"pvalloc", leak_pvalloc},
#endif
};

OPAQUE static void *leak_inner(void *(*leak)(void)) { return sink(leak()); }
OPAQUE static void *leak_outer(void *(*leak)(void)) { return sink(leak_inner(leak)); }

int main(int argc, char **argv) {
    void *(*leak)(void) = NULL;
    size_t count = argc > 2 ? strtoul(argv[2], NULL, 10) : 1;
    for (size_t i = 0; argc > 1 && i < sizeof FUNCTIONS / sizeof *FUNCTIONS; i++)
        if (strcmp(FUNCTIONS[i].name, argv[1]) == 0) leak = FUNCTIONS[i].leak;
    if (leak == NULL) victim_fail("no such function");
    memset(text, 'x', SIZE - 1);
    victim_ready();
    void *last = NULL;
    for (size_t i = 0; i < count; i++) last = victim_check(leak_outer(leak), argv[1]);
    char line[64];
    snprintf(line, sizeof line, "done %p", last);
    victim_done_with(line);
    return 0;
}
