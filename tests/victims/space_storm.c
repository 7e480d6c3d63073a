/* Threads that change the address space at random, each its own ranges: space_storm THREADS CALLS [PER_SECOND]. With a
 * rate all threads together make so many calls a second.
 *
 * Freed ranges are given out again at once, to other threads as well. At "done CALLS" nothing changes any more, and
 * what is mapped is in /proc/PID/maps. The seed is the thread's number.
 */
#include "victim.h"
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

#define PAGE 4096ul
#define RANGES 64
#define MOST 32

struct range { char *at; size_t pages; };
static long calls_each;
static double rate_each;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* Waits until so many calls are due. */
static void pace(double start, long calls) {
    double ahead = start + (double)calls / rate_each - now();
    if (ahead > 0) usleep((useconds_t)(ahead * 1e6));
}

static unsigned next(unsigned *state) { return *state = *state * 1664525u + 1013904223u, *state >> 8; }

static void change(struct range *range, unsigned *state) {
    size_t pages = 1 + next(state) % MOST;
    if (range->at == NULL) {
        int protection = next(state) % 4 == 0 ? PROT_NONE : PROT_READ | PROT_WRITE;
        range->at = mmap(NULL, pages * PAGE, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        range->pages = pages;
        if (range->at == MAP_FAILED) _exit(96);
        return;
    }
    size_t part = 1 + next(state) % range->pages;
    char *moved;
    switch (next(state) % 6) {
    case 0: /* from the start */
        munmap(range->at, part * PAGE);
        range->at += part * PAGE;
        range->pages -= part;
        break;
    case 1: /* from the end */
        munmap(range->at + (range->pages - part) * PAGE, part * PAGE);
        range->pages -= part;
        break;
    case 2:
        moved = mremap(range->at, range->pages * PAGE, pages * PAGE, MREMAP_MAYMOVE);
        if (moved == MAP_FAILED) break; /* it has become several mappings */
        range->at = moved;
        range->pages = pages;
        break;
    case 3:
        mprotect(range->at, part * PAGE, next(state) % 2 ? PROT_NONE : PROT_READ | PROT_WRITE);
        break;
    case 4:
        mmap(range->at, part * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        break;
    default:
        munmap(range->at, range->pages * PAGE);
        range->pages = 0;
    }
    if (range->pages == 0) range->at = NULL;
}

/* Only one thread moves the heap's end. */
static void move_heap(unsigned *state) {
    static char *start;
    if (start == NULL) start = (char *)syscall(SYS_brk, 0);
    syscall(SYS_brk, start + next(state) % (64 * PAGE));
}

static void *storm(void *number) {
    struct range ranges[RANGES] = {0};
    unsigned state = (unsigned)(uintptr_t)number;
    double start = now();
    for (long call = 0; call < calls_each; call++) {
        if (rate_each > 0 && call % 64 == 0) pace(start, call);
        if (number == (void *)1 && call % 8 == 0) move_heap(&state);
        else change(&ranges[next(&state) % RANGES], &state);
    }
    return NULL;
}

int main(int count, char **arguments) {
    pthread_t threads[16];
    char line[64];
    if (count < 3) return 2;
    int wanted = atoi(arguments[1]);
    long calls = atol(arguments[2]);
    calls_each = calls / wanted;
    rate_each = count > 3 ? atof(arguments[3]) / wanted : 0;
    victim_ready();
    for (int number = 0; number < wanted; number++)
        if (pthread_create(&threads[number], NULL, storm, (void *)(uintptr_t)(number + 1)) != 0) return 3;
    for (int number = 0; number < wanted; number++) pthread_join(threads[number], NULL);
    snprintf(line, sizeof line, "done %ld", calls_each * wanted);
    victim_done_with(line);
    return 0;
}
