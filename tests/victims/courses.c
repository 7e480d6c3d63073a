/* courses KIND: memory that goes on in a known way, in steps of 10 ms, until a line comes.
 *
 *   lru    a cache of 10,000 blocks of 1000 bytes (lru_insert) that fills within 5 s, then drops the oldest for each
 *          new one
 *   pool   10 MB in blocks of 1000 bytes (pool_grow) within 6 s, then nothing
 *   log    5,000 records of 200 bytes a second (log_append), all dropped every 3 s
 *   wave   5,000 requests of 1000 bytes (wave_open) on average, none to 10,000 and back in 4 s
 *   cache  20,000 blocks of 64 to 1023 bytes (cache_insert), 2,000 of them replaced each second, at random; full from
 *          the start
 *   fifo   the same, the oldest first
 *   leak   as cache, with 10,000 short-lived blocks a second (noise) and 12,300 bytes a second never freed
 *          (leak_slowly)
 *   lives  1,000 blocks a second that live 40 ms (live_shortly), 100 that live 1.4 s (live_longer)
 */
#include "victim.h"

#include <math.h>
#include <poll.h>
#include <time.h>

#define CACHED 20000
#define STEPS_PER_S 100

static void *held[CACHED];
static size_t count, at;
static uint64_t state = 88172645463325252u;

OPAQUE static void *lru_insert(void) { return victim_check(malloc(opaque(1000)), "lru"); }
OPAQUE static void *pool_grow(void) { return victim_check(malloc(opaque(1000)), "pool"); }
OPAQUE static void *log_append(void) { return victim_check(malloc(opaque(200)), "log"); }
OPAQUE static void *wave_open(void) { return victim_check(malloc(opaque(1000)), "wave"); }
OPAQUE static void *leak_slowly(void) { return victim_check(malloc(opaque(123)), "leak"); }
OPAQUE static void *live_shortly(void) { return victim_check(malloc(opaque(100)), "short"); }
OPAQUE static void *live_longer(void) { return victim_check(malloc(opaque(100)), "long"); }
OPAQUE static void *cache_insert(void) {
    return victim_check(malloc(opaque(64 + xorshift(&state) % 960)), "cache");
}
OPAQUE static void *noise(void) { return victim_check(malloc(opaque(16 + xorshift(&state) % 500)), "noise"); }

static void replace(size_t index, void *(*insert)(void)) {
    free(held[index]);
    held[index] = insert();
}

static void lru(size_t step) {
    (void)step;
    for (int i = 0; i < 20; i++, at++) replace(at % 10000, lru_insert);
}

static void pool(size_t step) {
    for (int i = 0; i < 17 && step < 6 * STEPS_PER_S; i++) held[count++] = pool_grow();
}

static void drop_to(size_t wanted) {
    while (count > wanted) free(held[--count]);
}

static void log_records(size_t step) {
    if (step % (3 * STEPS_PER_S) == 0) drop_to(0);
    for (int i = 0; i < 50; i++) held[count++] = log_append();
}

static void wave(size_t step) {
    size_t wanted = (size_t)(5000 * (1 - cos((double)step * 6.283185 / (4 * STEPS_PER_S))));
    drop_to(wanted);
    while (count < wanted) held[count++] = wave_open();
}

static void cache(size_t step) {
    (void)step;
    for (int i = 0; i < 20; i++) replace(xorshift(&state) % CACHED, cache_insert);
}

static void fifo(size_t step) {
    (void)step;
    for (int i = 0; i < 20; i++, at++) replace(at % CACHED, cache_insert);
}

static void leak(size_t step) {
    cache(step);
    for (int i = 0; i < 100; i++) free(noise());
    leak_slowly();
}

static void lives(size_t step) {
    for (size_t i = 0; i < 10; i++) replace(step % 4 * 10 + i, live_shortly);
    replace(1000 + step % 140, live_longer);
}

static const struct {
    const char *name;
    void (*step)(size_t);
} KINDS[] = {{"lru", lru}, {"pool", pool}, {"log", log_records}, {"wave", wave}, {"cache", cache},
             {"fifo", fifo}, {"leak", leak}, {"lives", lives}};

int main(int words, char **word) {
    void (*step)(size_t) = NULL;
    for (size_t i = 0; words > 1 && i < sizeof KINDS / sizeof *KINDS; i++)
        if (strcmp(KINDS[i].name, word[1]) == 0) step = KINDS[i].step;
    if (step == NULL) victim_fail("no such kind");
    if (step == cache || step == fifo || step == leak)
        for (size_t i = 0; i < CACHED; i++) held[i] = cache_insert();
    victim_ready();
    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    struct pollfd input = {STDIN_FILENO, POLLIN, 0};
    for (size_t number = 0; poll(&input, 1, 0) == 0; number++) {
        step(number);
        next.tv_nsec += 1000000000 / STEPS_PER_S;
        if (next.tv_nsec >= 1000000000) next.tv_nsec -= 1000000000, next.tv_sec++;
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
    }
    victim_done();
    return 0;
}
