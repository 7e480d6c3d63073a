/* Thread A allocates 10000 blocks of 48 bytes, thread B frees all but every tenth; then A allocates as many again.
 *
 * Expected: live (1000 + 10000) * 48 = 528000 bytes, 11000 blocks, all from make().
 */
#include <pthread.h>
#include "victim.h"

#define BLOCKS 10000
static void *blocks[BLOCKS];
static pthread_barrier_t barrier;

OPAQUE static void *make(void) { return sink(malloc(opaque(48))); }

static void *maker(void *unused) {
    (void)unused;
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < BLOCKS; i++) blocks[i] = victim_check(make(), "malloc");
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < BLOCKS; i++) victim_check(make(), "malloc");
    pthread_barrier_wait(&barrier);
    return NULL;
}

static void *breaker(void *unused) {
    (void)unused;
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < BLOCKS; i++)
        if (i % 10 != 0) free(sink(blocks[i]));
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    return NULL;
}

int main(void) {
    pthread_t threads[2];
    pthread_barrier_init(&barrier, NULL, 3);
    /* A thread's own memory is allocated before the trace starts. */
    pthread_create(&threads[0], NULL, maker, NULL);
    pthread_create(&threads[1], NULL, breaker, NULL);
    victim_ready();
    for (int i = 0; i < 4; i++) pthread_barrier_wait(&barrier);
    victim_done();
    return 0;
}
