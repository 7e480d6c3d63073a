/* A heap of CHUNKS blocks in ARENAS threads' arenas, while one thread goes on allocating and freeing.
 *
 *   heap_churn THREADS BLOCKS LEAST MOST
 *
 * Each of THREADS threads makes BLOCKS blocks of LEAST to MOST bytes and frees every tenth; one more then replaces
 * blocks until the end. "figures USED FREE MAPPED" answers each "go": uordblks, fordblks and hblkhd of mallinfo2, which
 * counts what is in thread caches as used, and what is in fast bins as free.
 */
#include "victim.h"

#include <malloc.h>
#include <pthread.h>

struct work {
    size_t blocks, least, most;
    void **held;
    uint64_t random;
};

static pthread_barrier_t made;
static volatile int stop;

static size_t next_size(struct work *work) {
    return work->least + xorshift(&work->random) % (work->most - work->least + 1);
}

static void *fill(void *argument) {
    struct work *work = argument;
    for (size_t i = 0; i < work->blocks; i++) {
        work->held[i] = victim_check(malloc(opaque(next_size(work))), "malloc");
        *(char *)work->held[i] = 1;
    }
    for (size_t i = 0; i < work->blocks; i += 10) {
        free(work->held[i]);
        work->held[i] = NULL;
    }
    pthread_barrier_wait(&made);
    while (!stop) usleep(1000);
    return NULL;
}

/* Replaces blocks, some thousand at a time, as a busy program does. */
static void *churn(void *argument) {
    struct work *work = argument;
    while (!stop) {
        for (int i = 0; i < 2000; i++) {
            size_t index = xorshift(&work->random) % work->blocks;
            free(work->held[index]);
            work->held[index] = victim_check(malloc(opaque(next_size(work))), "malloc");
        }
        usleep(100);
    }
    return NULL;
}

int main(int count, char **words) {
    if (count != 5) victim_fail("heap_churn THREADS BLOCKS LEAST MOST");
    size_t threads = strtoul(words[1], NULL, 10), blocks = strtoul(words[2], NULL, 10);
    size_t least = strtoul(words[3], NULL, 10), most = strtoul(words[4], NULL, 10);
    pthread_t ids[256];
    struct work work[256];
    if (threads == 0 || threads > 255) victim_fail("1 to 255 threads");
    mallopt(M_ARENA_MAX, (int)threads);
    pthread_barrier_init(&made, NULL, (unsigned)threads + 1);
    for (size_t i = 0; i < threads; i++) {
        work[i] = (struct work){blocks, least, most, calloc(blocks, sizeof(void *)), 88172645463325252u + i};
        pthread_create(&ids[i], NULL, fill, &work[i]);
    }
    pthread_barrier_wait(&made);
    struct work busy = {20000, least, most, calloc(20000, sizeof(void *)), 7};
    pthread_create(&ids[threads], NULL, churn, &busy);
    victim_ready();
    for (;;) {
        char line[160];
        struct mallinfo2 info = mallinfo2();
        snprintf(line, sizeof line, "figures %zu %zu %zu", info.uordblks, info.fordblks, info.hblkhd);
        victim_say(line);
        if (!victim_wait()) break;
    }
    stop = 1;
    for (size_t i = 0; i <= threads; i++) pthread_join(ids[i], NULL);
    return 0;
}
