// Allocates and frees in a loop from the bottom of a call chain of ten frames; compiled with -DPAIR_MMAP,
// -DPAIR_MMAP_TOUCHED or -DPAIR_GETPPID, makes those system calls in place of malloc and free. Compiled with
// -DPAIR_SHIFTED, each pair has a chain of its own, which begins elsewhere on the stack than the 4,092 before it.
//
// pair SECONDS THREADS [SLOTS [DEPTH]]
//
// With DEPTH the stack at the calls has exactly that many frames, from the function that calls malloc to the thread's
// first one, both included. The C library's share of them is counted at the start, as it differs between libraries; a
// line `frames N` says how many there are in all.
//
// Prints SLOTS lines a second (1 unless given), `slot N PAIRS NS CPU_NS`: pairs of malloc(64) and free in that time
// over all threads, and nanoseconds of one thread for one pair, by the clock and of CPU time. An outer program sees the
// cost before, during and after an attach in the slots. At the end, for each thread, `thread N PAIRS NS`. With several
// threads each stays on a CPU of its own.
#define _GNU_SOURCE
#include <execinfo.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MAX_THREADS 64
// Levels between the thread's function and the one that allocates: at most, and without DEPTH.
#define MAX_LEVELS 40
#define LEVELS 7
#ifdef PAIR_SHIFTED
#define PAIRS_PER_CALL 1
#else
#define PAIRS_PER_CALL 64
#endif
// A prime, so that neighbors in time are none on the stack.
#define SHIFTS 4093

// A cache line each, so that threads do not slow each other by counting.
struct counter {
    _Alignas(128) atomic_ulong pairs;
};

static struct counter counters[MAX_THREADS];
static atomic_int running = 1;
static int threads;

#define NOINLINE __attribute__((noinline, noclone))

// What would make a tail call of it, and lose the frame, is forbidden by the empty asm after each call. Each is a
// function of its own, as in a program of many layers: a recursion would unwind one return address again and again.
#define LEVEL(n, next)                                  \
    NOINLINE static void level##n(int count, int left) { \
        if (left == 1)                                  \
            pairs(count);                               \
        else                                            \
            next(count, left - 1);                      \
        __asm__ volatile("" ::: "memory");              \
    }
#define TEN(tens, next)                                                                                 \
    LEVEL(tens##9, next)                                                                                \
    LEVEL(tens##8, level##tens##9) LEVEL(tens##7, level##tens##8) LEVEL(tens##6, level##tens##7)        \
    LEVEL(tens##5, level##tens##6) LEVEL(tens##4, level##tens##5) LEVEL(tens##3, level##tens##4)        \
    LEVEL(tens##2, level##tens##3) LEVEL(tens##1, level##tens##2) LEVEL(tens##0, level##tens##1)

static int levels = LEVELS;
// What backtrace() found where malloc is called; 0 where it was not asked.
static int frames;

NOINLINE static void find_frames(void) {
    void *addresses[2 * MAX_LEVELS];
    // Its first frame is this function's.
    frames = backtrace(addresses, 2 * MAX_LEVELS) - 1;
}

// What is measured: a pair of calls that take and give back, or a single system call, as compiled.
static inline void pair(void) {
#if defined(PAIR_MMAP) || defined(PAIR_MMAP_TOUCHED)
    char *block = mmap(NULL, 16 << 12, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED) _exit(1);
#ifdef PAIR_MMAP_TOUCHED
    *block = 1;
#endif
    munmap(block, 16 << 12);
#elif defined(PAIR_GETPPID)
    getppid();
#else
    void *block = malloc(64);
    __asm__ volatile("" : "+r"(block)::"memory");
    free(block);
#endif
}

NOINLINE static void pairs(int count) {
    if (count == 0) find_frames();
    for (int i = 0; i < count; i++) {
        pair();
    }
}
// Never reached: there are no more than MAX_LEVELS.
NOINLINE static void level_end(int count, int left) {
    (void)left;
    pairs(count);
}
TEN(4, level_end)
TEN(3, level40)
TEN(2, level30)
TEN(1, level20)

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

// The number-th CPU that this process may run on.
static void stay_on_cpu(int number) {
    cpu_set_t allowed, own;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &allowed) && number-- == 0) {
            CPU_ZERO(&own);
            CPU_SET(cpu, &own);
            pthread_setaffinity_np(pthread_self(), sizeof own, &own);
            return;
        }
    }
}

#ifdef PAIR_SHIFTED
NOINLINE static void begin(int count) {
    static unsigned turn;
    turn = (turn + 7) % SHIFTS;
    volatile char shift[turn * 16 + 16];
    shift[0] = 1;
    level10(count, levels);
    __asm__ volatile("" ::: "memory");
}
#else
static inline void begin(int count) { level10(count, levels); }
#endif

// Frames of malloc's callers without DEPTH: pairs, seven levels, worker and the thread's start make ten.
static void *worker(void *arg) {
    struct counter *own = arg;
    if (threads > 1) stay_on_cpu((int)(own - counters));
    while (atomic_load_explicit(&running, memory_order_relaxed)) {
        begin(PAIRS_PER_CALL);
        atomic_fetch_add_explicit(&own->pairs, PAIRS_PER_CALL, memory_order_relaxed);
    }
    return NULL;
}

// Counts the frames of a worker that calls neither malloc nor free.
static void *count_frames(void *unused) {
    begin(0);
    return unused;
}

// Sets the number of levels so that there are so many frames; 0 if that cannot be.
static int set_depth(int depth) {
    for (int attempt = 0; attempt < 2; attempt++) {
        pthread_t id;
        if (pthread_create(&id, NULL, count_frames, NULL) != 0) return 0;
        pthread_join(id, NULL);
        if (frames == depth) return 1;
        levels += depth - frames;
        if (levels < 1 || levels > MAX_LEVELS) return 0;
    }
    return 0;
}

static unsigned long all_pairs(void) {
    unsigned long sum = 0;
    for (int i = 0; i < threads; i++) sum += atomic_load_explicit(&counters[i].pairs, memory_order_relaxed);
    return sum;
}

static double cpu_time(const pthread_t *ids) {
    double sum = 0;
    for (int i = 0; i < threads; i++) {
        clockid_t clock;
        struct timespec t;
        if (pthread_getcpuclockid(ids[i], &clock) == 0 && clock_gettime(clock, &t) == 0) sum += t.tv_sec + t.tv_nsec * 1e-9;
    }
    return sum;
}

int main(int argc, char **argv) {
    int seconds = argc > 1 ? atoi(argv[1]) : 5;
    threads = argc > 2 ? atoi(argv[2]) : 1;
    int slots = argc > 3 ? atoi(argv[3]) : 1;
    if (seconds < 1 || slots < 1 || threads < 1 || threads > MAX_THREADS) {
        fprintf(stderr, "usage: pair SECONDS THREADS [SLOTS [DEPTH]] (at most %d threads)\n", MAX_THREADS);
        return 2;
    }
    if (argc > 4) {
        if (!set_depth(atoi(argv[4]))) {
            fprintf(stderr, "pair: cannot allocate from %s frames: it found %d\n", argv[4], frames);
            return 1;
        }
        printf("frames %d\n", frames);
        fflush(stdout);
    }
    pthread_t ids[MAX_THREADS];
    double start = now();
    for (int i = 0; i < threads; i++) {
        if (pthread_create(&ids[i], NULL, worker, &counters[i]) != 0) {
            fprintf(stderr, "pair: cannot start a thread\n");
            return 1;
        }
    }
    double last = start, last_cpu = 0;
    unsigned long before = 0;
    for (int slot = 0; slot < seconds * slots; slot++) {
        double left = start + (slot + 1.0) / slots - now();
        if (left > 0) {
            struct timespec pause = {(time_t)left, (long)((left - (time_t)left) * 1e9)};
            nanosleep(&pause, NULL);
        }
        double time = now(), cpu = cpu_time(ids);
        unsigned long count = all_pairs(), done = count - before;
        printf("slot %d %lu %.2f %.2f\n", slot, done, done ? (time - last) * 1e9 * threads / done : 0.0,
               done ? (cpu - last_cpu) * 1e9 / done : 0.0);
        fflush(stdout);
        before = count;
        last = time;
        last_cpu = cpu;
    }
    atomic_store(&running, 0);
    for (int i = 0; i < threads; i++) pthread_join(ids[i], NULL);
    double elapsed = now() - start;
    for (int i = 0; i < threads; i++) {
        unsigned long count = counters[i].pairs;
        printf("thread %d %lu %.2f\n", i, count, count ? elapsed * 1e9 / count : 0.0);
    }
    return 0;
}
