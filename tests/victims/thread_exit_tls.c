/* 50 threads, one after the other: each holds memory in a thread-specific key whose destructor frees it, and leaks 16
 * bytes; every fifth thread has a destructor that sets the key again (freed in the second round).
 *
 * Expected from leak_thread(): live 50 * 16 = 800 bytes, 50 blocks; nothing from hold(). The stack of a first thread,
 * made before the trace, is used again by all others, so the C library adds nothing.
 */
#include <pthread.h>
#include "victim.h"

static pthread_key_t key;
static __thread int rounds;

OPAQUE static void *hold(void) { return victim_check(malloc(opaque(3000)), "malloc"); }
OPAQUE static void leak_thread(void) { victim_check(malloc(opaque(16)), "malloc"); }

static void release(void *block) {
    free(sink(block));
    if (rounds-- > 0) pthread_setspecific(key, hold());
}

static void *work(void *again) {
    rounds = again != NULL;
    pthread_setspecific(key, hold());
    leak_thread();
    return NULL;
}

static void *nothing(void *unused) { return unused; }

static void run(void *(*body)(void *), void *argument) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, body, argument) != 0) victim_fail("pthread_create");
    pthread_join(thread, NULL);
}

int main(void) {
    if (pthread_key_create(&key, release) != 0) victim_fail("pthread_key_create");
    run(nothing, NULL);
    victim_ready();
    for (int i = 0; i < 50; i++) run(work, i % 5 == 0 ? &key : NULL);
    victim_done();
    return 0;
}
