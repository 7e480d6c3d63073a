/* An allocator with a prefix of its own (PREFIX, such as je_ or myown_), which never calls the C library's: a pointer
 * that moves through a mapped range. Freed memory is not used again. */
#include <sys/mman.h>
#include "victim.h"

#define JOIN2(prefix, name) prefix##name
#define JOIN(prefix, name) JOIN2(prefix, name)
#define HEADER 16

static char *next;

OPAQUE void *JOIN(PREFIX, malloc)(size_t size) {
    if (next == NULL) {
        next = mmap(NULL, 1 << 24, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (next == MAP_FAILED) return NULL;
    }
    char *block = next + HEADER;
    *(size_t *)next = size;
    next += (size + HEADER + 15) & ~(size_t)15;
    return sink(block);
}

OPAQUE void *JOIN(PREFIX, calloc)(size_t count, size_t size) { return sink(JOIN(PREFIX, malloc)(count * size)); }

OPAQUE void *JOIN(PREFIX, realloc)(void *old, size_t size) {
    char *block = JOIN(PREFIX, malloc)(size);
    if (old != NULL && block != NULL) {
        size_t held = *(size_t *)((char *)old - HEADER);
        memcpy(block, old, held < size ? held : size);
    }
    return sink(block);
}

OPAQUE void JOIN(PREFIX, free)(void *block) { sink(block); }
