/* reuse_storm [ROUNDS]: 4 threads pass blocks of one size to each other through 64 mailboxes: whoever takes a block
 * frees it and puts in a new one, so that an address freed here is handed out there at once. 20000 rounds a thread
 * unless given.
 *
 * Expected: live 64 * 96 + 4 * 10 * 96 = 9984 bytes, 104 blocks (one in each mailbox, ten kept by each thread), from
 * take_new().
 */
#include <pthread.h>
#include <stdatomic.h>
#include "victim.h"

#define THREADS 4
static _Atomic(void *) boxes[64];
static pthread_barrier_t barrier;
static int rounds = 20000;

OPAQUE static void *take_new(void) { return victim_check(malloc(opaque(96)), "malloc"); }

static void *work(void *number) {
    uint64_t state = 88172645463325252u + (uint64_t)(uintptr_t)number * 7919;
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 10; i++) take_new();
    for (int i = 0; i < rounds; i++) {
        void *old = atomic_exchange(&boxes[xorshift(&state) % 64], take_new());
        free(sink(old));
    }
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    return NULL;
}

int main(int argc, char **argv) {
    pthread_t threads[THREADS];
    if (argc > 1) rounds = atoi(argv[1]);
    pthread_barrier_init(&barrier, NULL, THREADS + 1);
    for (int i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)(i + 1));
    victim_ready();
    for (int i = 0; i < 64; i++) atomic_store(&boxes[i], take_new());
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    victim_done();
    pthread_barrier_wait(&barrier);
    return 0;
}
