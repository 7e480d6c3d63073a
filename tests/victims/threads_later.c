/* threads_later [THREADS]: starts 6 threads (or so many) after the attach; each leaks 10 blocks of 77 bytes from
 * leak_in_thread and stays.
 *
 * Expected from leak_in_thread: live THREADS * 10 * 77 = 4620 bytes, 60 blocks. The C library holds a little for each
 * thread.
 */
#include <pthread.h>
#include "victim.h"

static pthread_barrier_t barrier;

OPAQUE static void leak_in_thread(void) { victim_check(malloc(opaque(77)), "malloc"); }

static void *work(void *unused) {
    for (int i = 0; i < 10; i++) leak_in_thread();
    pthread_barrier_wait(&barrier);
    pause();
    return unused;
}

int main(int argc, char **argv) {
    unsigned threads = argc > 1 ? (unsigned)atoi(argv[1]) : 6;
    pthread_t thread;
    pthread_barrier_init(&barrier, NULL, threads + 1);
    victim_ready();
    for (unsigned i = 0; i < threads; i++)
        if (pthread_create(&thread, NULL, work, NULL) != 0) victim_fail("thread");
    pthread_barrier_wait(&barrier);
    victim_done();
    return 0;
}
