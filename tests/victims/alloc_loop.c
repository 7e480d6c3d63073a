/* alloc_loop [-t THREADS] [-s SECONDS | -n PAIRS] [-d DEPTH] [-z SIZE]: pairs of malloc and free as fast as they go (1
 * thread, 1 second, 10 frames deep, 64 bytes). Each "go" runs one measurement and answers "rate PAIRS_PER_SECOND";
 * "exit" ends it. With -n every thread makes PAIRS pairs.
 *
 * Expected: 0 bytes, 0 blocks after each answer.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include "victim.h"

static int threads = 1, depth = 10;
static double seconds = 1.0;
static long pairs = 0;
static size_t size = 64;
static pthread_barrier_t barrier;
static atomic_int stop;
static long done[64];

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

OPAQUE static long loop(void) {
    long count = 0;
    while (pairs > 0 ? count < pairs : !atomic_load_explicit(&stop, memory_order_relaxed)) {
        free(sink(malloc(opaque(size))));
        count++;
    }
    return count;
}

OPAQUE static long descend(int frames) {
    long count = frames > 1 ? descend(frames - 1) : loop();
    sink(&count);
    return count;
}

static void *work(void *number) {
    for (;;) {
        pthread_barrier_wait(&barrier);
        done[(uintptr_t)number] = descend(depth);
        pthread_barrier_wait(&barrier);
    }
    return NULL;
}

int main(int argc, char **argv) {
    int option;
    while ((option = getopt(argc, argv, "t:s:n:d:z:")) != -1) switch (option) {
        case 't': threads = atoi(optarg); break;
        case 's': seconds = atof(optarg); break;
        case 'n': pairs = atol(optarg); break;
        case 'd': depth = atoi(optarg); break;
        case 'z': size = strtoul(optarg, NULL, 10); break;
        default: victim_fail("unknown option");
        }
    if (threads < 1 || threads > 64) victim_fail("1 to 64 threads");
    pthread_barrier_init(&barrier, NULL, (unsigned)threads + 1);
    for (int i = 0; i < threads; i++) {
        pthread_t thread;
        pthread_create(&thread, NULL, work, (void *)(uintptr_t)i);
    }
    char line[64];
    snprintf(line, sizeof line, "ready %d", (int)getpid());
    victim_say(line);
    while (victim_wait()) {
        double start = now(), total = 0;
        atomic_store(&stop, 0);
        pthread_barrier_wait(&barrier);
        if (pairs == 0) {
            struct timespec time = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
            nanosleep(&time, NULL);
            atomic_store(&stop, 1);
        }
        pthread_barrier_wait(&barrier);
        double elapsed = now() - start;
        for (int i = 0; i < threads; i++) total += (double)done[i];
        snprintf(line, sizeof line, "rate %.0f", total / elapsed);
        victim_say(line);
        if (victim_free_run()) break;
    }
    return 0;
}
