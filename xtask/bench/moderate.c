/* A process that makes and frees so many blocks of 64 bytes a second, in lots of a hundredth of a second, until it is
 * killed. With a second number it also loses a block of so many bytes with each lot.
 *
 * moderate PAIRS_PER_SECOND [LOST] */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

/* Loses a block that it has written to. */
__attribute__((noinline)) static void leak(size_t size) {
    void *block = malloc(size);
    if (block) memset(block, 1, size);
    __asm__ volatile("" : "+r"(block)::"memory");
}

int main(int argc, char **argv) {
    long lot = (argc > 1 ? atol(argv[1]) : 1000) / 100;
    long lost = argc > 2 ? atol(argv[2]) : 0;
    struct timespec next;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(STDOUT_FILENO);
    clock_gettime(CLOCK_MONOTONIC, &next);
    for (;;) {
        for (long i = 0; i < lot; i++) {
            void *block = malloc(64);
            __asm__ volatile("" : "+r"(block)::"memory");
            free(block);
        }
        if (lost) leak((size_t)lost);
        next.tv_nsec += 10000000;
        if (next.tv_nsec >= 1000000000) next.tv_sec++, next.tv_nsec -= 1000000000;
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
    }
}
