/* odd_allocator HOW [COUNT]: uses an allocator whose calls go wrong (linked with odd_library).
 *
 *   release COUNT   the same block is handed out COUNT times, and taken back in between by a function that is not
 *                   known:
 *                   100 bytes in one block are live, and COUNT - 1 releases were not seen
 *   refuse COUNT    COUNT blocks of 100 bytes, of which a realloc of the first is refused after another thread has made
 *                   one more
 *   far COUNT       COUNT blocks of 100 bytes at addresses of which user space has the first one alone
 *   hidden COUNT    COUNT blocks of posix_memalign whose results cannot be read
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include "victim.h"

void *odd_malloc(size_t);
void *odd_realloc(void *, size_t);
int odd_posix_memalign(void **, size_t, size_t);
void odd_release(void *);
extern atomic_int odd_refusing, odd_may_return;
extern int odd_far;

OPAQUE static void *make(void) { return victim_check(odd_malloc(opaque(100)), "odd_malloc"); }

OPAQUE static void *make_meanwhile(void *unused) {
    while (!atomic_load(&odd_refusing)) {}
    make();
    atomic_store(&odd_may_return, 1);
    return unused;
}

OPAQUE static void hide(void) {
    void **result = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (result == MAP_FAILED || odd_posix_memalign(result, 64, opaque(100)) != 0) victim_fail("odd_posix_memalign");
}

int main(int argc, char **argv) {
    if (argc < 3) victim_fail("how, and how many");
    const char *how = argv[1];
    size_t count = strtoul(argv[2], NULL, 10);
    pthread_t thread;
    if (strcmp(how, "refuse") == 0 && pthread_create(&thread, NULL, make_meanwhile, NULL) != 0) victim_fail("thread");
    victim_ready();
    if (strcmp(how, "release") == 0) {
        for (size_t i = 1; i < count; i++) odd_release(make());
        make();
    } else if (strcmp(how, "far") == 0) {
        odd_far = 1;
        for (size_t i = 0; i < count; i++) make();
    } else if (strcmp(how, "hidden") == 0) {
        for (size_t i = 0; i < count; i++) hide();
    } else {
        void *first = make();
        for (size_t i = 1; i < count; i++) make();
        if (odd_realloc(first, opaque(200)) != NULL) victim_fail("it was not refused");
        pthread_join(thread, NULL);
    }
    victim_done();
    return 0;
}
