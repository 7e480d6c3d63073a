/* Starts 6 threads after the attach; each leaks 10 blocks of 77 bytes from leak_in_thread and stays.
 *
 * Expected from leak_in_thread: live 6 * 10 * 77 = 4620 bytes, 60 blocks. The C library holds a little for each thread.
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

int main(void) {
    pthread_t thread;
    pthread_barrier_init(&barrier, NULL, 7);
    victim_ready();
    for (int i = 0; i < 6; i++) pthread_create(&thread, NULL, work, NULL);
    pthread_barrier_wait(&barrier);
    victim_done();
    return 0;
}
