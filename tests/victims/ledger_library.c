/* Counts a victim's outstanding blocks from inside, without memlens: preloaded, it proves that a victim does what its
 * comment says.
 *
 * Requested bytes, outermost calls only, from ledger_start to ledger_stop; then one line "BYTES BLOCKS" to the file
 * named by LEDGER. glibc only. Not a victim.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include "victim.h"

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);
void *__libc_valloc(size_t);
void *__libc_pvalloc(size_t);
void __libc_free(void *);

#define SLOTS (1u << 20)
static struct {
    void *block;
    size_t size;
} slots[SLOTS];
static void *const GONE = (void *)1;
static atomic_flag lock = ATOMIC_FLAG_INIT;
static int counting;
static size_t live_bytes, live_blocks;

static unsigned slot_of(void *block) { return (unsigned)(((uintptr_t)block * 0x9e3779b97f4a7c15u) >> 44); }

static void enter(void) {
    while (atomic_flag_test_and_set(&lock)) {
    }
}

static void *add(void *block, size_t size) {
    if (block == NULL || !counting) return block;
    enter();
    unsigned slot = slot_of(block);
    while (slots[slot].block != NULL && slots[slot].block != GONE) slot = (slot + 1) % SLOTS;
    slots[slot].block = block;
    slots[slot].size = size;
    live_bytes += size;
    live_blocks++;
    atomic_flag_clear(&lock);
    return block;
}

/* Returns whether the block was known, and its size. */
static int take(void *block, size_t *size) {
    int found = 0;
    if (block == NULL || !counting) return 0;
    enter();
    for (unsigned slot = slot_of(block); slots[slot].block != NULL; slot = (slot + 1) % SLOTS)
        if (slots[slot].block == block) {
            *size = slots[slot].size;
            slots[slot].block = GONE;
            live_bytes -= *size;
            live_blocks--;
            found = 1;
            break;
        }
    atomic_flag_clear(&lock);
    return found;
}

void *malloc(size_t size) { return add(__libc_malloc(size), size); }
void *calloc(size_t count, size_t size) { return add(__libc_calloc(count, size), count * size); }
void *memalign(size_t alignment, size_t size) { return add(__libc_memalign(alignment, size), size); }
void *aligned_alloc(size_t alignment, size_t size) { return add(__libc_memalign(alignment, size), size); }
void *valloc(size_t size) { return add(__libc_valloc(size), size); }
void *pvalloc(size_t size) { return add(__libc_pvalloc(size), size); }

int posix_memalign(void **result, size_t alignment, size_t size) {
    if (alignment % sizeof(void *) != 0 || alignment == 0 || (alignment & (alignment - 1)) != 0) return EINVAL;
    void *block = __libc_memalign(alignment, size);
    if (block == NULL) return ENOMEM;
    *result = add(block, size);
    return 0;
}

void *realloc(void *old, size_t size) {
    size_t held = 0;
    int known = take(old, &held);
    void *block = __libc_realloc(old, size);
    if (block == NULL && size != 0 && known) add(old, held);
    return add(block, size);
}

void *reallocarray(void *old, size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(old, bytes);
}

void free(void *block) {
    size_t size;
    take(block, &size);
    __libc_free(block);
}

void ledger_start(void) { counting = 1; }

void ledger_stop(void) {
    char line[64];
    counting = 0;
    int length = snprintf(line, sizeof line, "%zu %zu\n", live_bytes, live_blocks);
    const char *path = getenv("LEDGER");
    int file = open(path != NULL ? path : "/dev/null", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (file < 0 || write(file, line, (size_t)length) != length) victim_fail("the ledger's file");
    close(file);
}
