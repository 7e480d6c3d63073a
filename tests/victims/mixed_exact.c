/* mixed_exact [CALLS [THREADS]]: CALLS calls (400000 unless given) of malloc, calloc, realloc, posix_memalign and free,
 * mixed by a seeded generator on THREADS threads (8); at the end each thread keeps what its last state holds.
 *
 * Expected: what the victim prints: "done BYTES BLOCKS".
 */
#include <pthread.h>
#include "victim.h"

#define SLOTS 256
#define MAX_THREADS 64

struct worker {
    pthread_t thread;
    uint64_t state, bytes, blocks;
    long calls;
    void *block[SLOTS];
    size_t size[SLOTS];
};

static struct worker workers[MAX_THREADS];
static pthread_barrier_t barrier;

OPAQUE static void *mixed_new(uint64_t kind, size_t size) {
    void *block = NULL;
    switch (kind % 4) {
    case 0: return sink(malloc(size));
    case 1: return sink(calloc(1, size));
    case 2: return sink(realloc(NULL, size));
    default: return posix_memalign(&block, 64, size) == 0 ? sink(block) : NULL;
    }
}

/* Mostly small blocks, some of pages, a few that are mapped on their own. */
static size_t pick_size(uint64_t random) {
    if (random % 1000 == 0) return 140000 + random % 5000;
    if (random % 20 == 0) return 4000 + random % 5000;
    return 1 + random % 500;
}

static void *work(void *argument) {
    struct worker *me = argument;
    pthread_barrier_wait(&barrier);
    for (long call = 0; call < me->calls; call++) {
        uint64_t random = xorshift(&me->state);
        size_t slot = random % SLOTS, size = pick_size(random >> 16);
        if (me->block[slot] == NULL) {
            me->block[slot] = victim_check(mixed_new(random >> 8, size), "allocate");
            me->size[slot] = size;
        } else if ((random >> 12) % 3 == 0) {
            me->block[slot] = victim_check(realloc(me->block[slot], size), "realloc");
            me->size[slot] = size;
        } else {
            free(sink(me->block[slot]));
            me->block[slot] = NULL;
        }
    }
    for (int slot = 0; slot < SLOTS; slot++)
        if (me->block[slot] != NULL) {
            me->bytes += me->size[slot];
            me->blocks++;
        }
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    return NULL;
}

int main(int argc, char **argv) {
    long calls = argc > 1 ? atol(argv[1]) : 400000;
    int threads = argc > 2 ? atoi(argv[2]) : 8;
    uint64_t bytes = 0, blocks = 0;
    if (threads < 1 || threads > MAX_THREADS) victim_fail("1 to 64 threads");
    pthread_barrier_init(&barrier, NULL, (unsigned)threads + 1);
    /* A thread's own memory is allocated before the trace starts, and none ends during it. */
    for (int i = 0; i < threads; i++) {
        workers[i].state = 0x9e3779b97f4a7c15u * (uint64_t)(i + 1);
        workers[i].calls = calls / threads;
        pthread_create(&workers[i].thread, NULL, work, &workers[i]);
    }
    victim_ready();
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < threads; i++) {
        bytes += workers[i].bytes;
        blocks += workers[i].blocks;
    }
    char line[80];
    snprintf(line, sizeof line, "done %llu %llu", (unsigned long long)bytes, (unsigned long long)blocks);
    victim_done_with(line);
    pthread_barrier_wait(&barrier);
    return 0;
}
