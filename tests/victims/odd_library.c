/* An allocator with the prefix odd_ whose calls go wrong in ways of its own; it never calls the C library's.
 *
 *   odd_release        takes a block back, which the next odd_malloc hands out again; memlens does not know its name
 *   odd_realloc        lets another thread allocate (odd_refusing, odd_may_return), and then refuses
 *   odd_malloc         with odd_far, hands out addresses that are not mapped
 *   odd_posix_memalign succeeds, and makes the page with its result unreadable
 */
#include <stdatomic.h>
#include <sys/mman.h>
#include "victim.h"

#define BLOCK 4096

atomic_int odd_refusing, odd_may_return;
int odd_far;

static size_t places;
static char *next;
static void *released;

/* A place that user space has, and then others that it does not have. */
OPAQUE static void *odd_place(size_t number) { return sink((void *)(((uintptr_t)number << 47) + BLOCK)); }

OPAQUE void *odd_malloc(size_t size) {
    void *block = released;
    if (size > BLOCK) return NULL;
    if (odd_far) return odd_place(places++);
    if (block != NULL) {
        released = NULL;
        return sink(block);
    }
    if (next == NULL) {
        next = mmap(NULL, 1 << 24, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (next == MAP_FAILED) return NULL;
    }
    block = next;
    next += BLOCK;
    return sink(block);
}

OPAQUE void odd_free(void *block) { sink(block); }

OPAQUE void odd_release(void *block) { released = sink(block); }

OPAQUE void *odd_realloc(void *old, size_t size) {
    sink(old);
    opaque(size);
    atomic_store(&odd_refusing, 1);
    while (!atomic_load(&odd_may_return)) {}
    return sink(NULL);
}

OPAQUE int odd_posix_memalign(void **result, size_t alignment, size_t size) {
    *result = odd_malloc(size < alignment ? alignment : size);
    if (mprotect(result, BLOCK, PROT_NONE) != 0) return 12;
    return (int)opaque(0);
}
