// Takes page faults in a loop at a rate that it keeps by work of its own, untraced: touches fresh pages, gives them
// back, touches them again.
//
// faults SECONDS SLOTS RATE
//
// RATE is page faults a second of CPU time while nobody traces; 0 takes them as fast as they come. The work between two
// faults is a number of turns of a loop that is
// found at the start, so that what tracing adds shows in full. Prints SLOTS lines a second, `slot N FAULTS NS CPU_NS`:
// page faults in that time, and
// nanoseconds for one of them with its work, by the clock and of CPU time.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

#define PAGE 4096ul
#define PAGES 512ul

static double at(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void work(unsigned long turns) {
    for (unsigned long turn = 0; turn < turns; turn++) __asm__ volatile("" ::: "memory");
}

__attribute__((noinline)) static void round_of_faults(char *pages, unsigned long turns) {
    for (unsigned long page = 0; page < PAGES; page++) {
        pages[page * PAGE] = 1;
        work(turns);
    }
    if (madvise(pages, PAGES * PAGE, MADV_DONTNEED) != 0) exit(1);
}

// Seconds of CPU time for one fault with so much work, the best of some.
static double cost(char *pages, unsigned long turns) {
    double best = 1;
    for (int attempt = 0; attempt < 20; attempt++) {
        double start = at(CLOCK_THREAD_CPUTIME_ID);
        round_of_faults(pages, turns);
        double took = (at(CLOCK_THREAD_CPUTIME_ID) - start) / PAGES;
        if (took < best) best = took;
    }
    return best;
}

int main(int argc, char **argv) {
    int seconds = argc > 1 ? atoi(argv[1]) : 0, slots = argc > 2 ? atoi(argv[2]) : 0;
    double rate = argc > 3 ? atof(argv[3]) : 0;
    if (seconds < 1 || slots < 1 || rate < 0) {
        fprintf(stderr, "usage: faults SECONDS SLOTS RATE\n");
        return 2;
    }
    char *pages = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED || madvise(pages, PAGES * PAGE, MADV_NOHUGEPAGE) != 0) return 1;
    unsigned long turns = 0;
    if (rate > 0) {
        double bare = cost(pages, 0), with = cost(pages, 10000);
        double left = 1 / rate - bare;
        if (left > 0 && with > bare) turns = (unsigned long)(left * 10000 / (with - bare));
    }
    double start = at(CLOCK_MONOTONIC), last = start, last_cpu = at(CLOCK_THREAD_CPUTIME_ID);
    for (int slot = 0; slot < seconds * slots; slot++) {
        unsigned long done = 0;
        double time;
        do {
            round_of_faults(pages, turns);
            done += PAGES;
            time = at(CLOCK_MONOTONIC);
        } while (time < start + (slot + 1.0) / slots);
        double cpu = at(CLOCK_THREAD_CPUTIME_ID);
        printf("slot %d %lu %.2f %.2f\n", slot, done, (time - last) * 1e9 / done, (cpu - last_cpu) * 1e9 / done);
        fflush(stdout);
        last = time;
        last_cpu = cpu;
    }
    return 0;
}
