/* slow_leak BYTES_PER_SECOND: at "go" leaks so many bytes a second by the clock, in blocks of 100 bytes from
 * leak_slowly, beside a cache of 1000 blocks of 300 bytes from fill_cache that is full from the start and in which it
 * replaces 500 blocks a second.
 *
 * Expected, t seconds after "go": BYTES_PER_SECOND * t bytes more, from leak_slowly; nothing more from fill_cache. With
 * a rate of 0 it does not grow. Looks at the clock a hundred times a second, and ends by itself after two minutes.
 */
#include <poll.h>
#include <time.h>
#include "victim.h"

#define CACHED 1000

static void *cache[CACHED];

OPAQUE static void leak_slowly(void) { memset(victim_check(malloc(opaque(100)), "malloc"), 1, 100); }
OPAQUE static void *fill_cache(void) { return memset(victim_check(malloc(opaque(300)), "malloc"), 2, 300); }

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    double rate = argc > 1 ? atof(argv[1]) : 0;
    alarm(120);
    for (int i = 0; i < CACHED; i++) cache[i] = fill_cache();
    victim_ready();
    double start = now(), leaked = 0;
    struct pollfd input = {STDIN_FILENO, POLLIN, 0};
    unsigned next = 0;
    do {
        for (double due = (now() - start) * rate; leaked + 100 <= due; leaked += 100) leak_slowly();
        for (int i = 0; i < 5; i++, next = (next + 1) % CACHED) {
            free(cache[next]);
            cache[next] = fill_cache();
        }
    } while (poll(&input, 1, 10) == 0);
    victim_wait();
    return 0;
}
