/* longjmp_out caller|inside: leaves by siglongjmp out of a signal handler, many times.
 *
 * caller: a timer interrupts a function that allocates; the handler jumps only while that function is
 *   not inside the allocator. 50 jumps.
 * inside: realloc of a block in unreadable memory faults inside the allocator before it changed anything; the
 *   handler jumps out of it. 500 jumps, from 1 to 50 frames deep. Each is a call whose return is never seen.
 * Expected: live 40 * 250 = 10000 bytes in 250 blocks, all from keep(), in both modes.
 */
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/time.h>
#include "victim.h"

static sigjmp_buf escape;
static volatile sig_atomic_t may_jump;

OPAQUE static void keep(void) { victim_check(malloc(opaque(40)), "malloc"); }

static void on_alarm(int signal) {
    (void)signal;
    if (may_jump) {
        may_jump = 0;
        siglongjmp(escape, 1);
    }
}

static void on_fault(int signal) {
    (void)signal;
    siglongjmp(escape, 1);
}

/* Allocates and frees for ever; only the timer ends it. */
OPAQUE static void churn(void) {
    for (;;) {
        void *block = sink(malloc(opaque(64)));
        free(block);
        may_jump = 1;
        for (volatile int spin = 0; spin < 200; spin++) {
        }
        may_jump = 0;
    }
}

static void run_caller(void) {
    struct sigaction action = {.sa_handler = on_alarm};
    sigaction(SIGALRM, &action, NULL);
    struct itimerval timer = {{0, 2000}, {0, 2000}};
    setitimer(ITIMER_REAL, &timer, NULL);
    for (volatile int jump = 0; jump < 50; jump++) {
        if (sigsetjmp(escape, 1) == 0) churn();
        for (int i = 0; i < 5; i++) keep();
    }
    timer = (struct itimerval){{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &timer, NULL);
}

OPAQUE static void fault_at(int depth, char *unreadable) {
    volatile char pad[64];
    pad[0] = (char)depth;
    if (depth > 0)
        fault_at(depth - 1, unreadable);
    else
        sink(realloc(unreadable, opaque(100)));
    pad[1] = pad[0];
}

static void run_inside(void) {
    struct sigaction action = {.sa_handler = on_fault};
    sigaction(SIGSEGV, &action, NULL);
    char *unreadable = mmap(NULL, 1 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (unreadable == MAP_FAILED) victim_fail("mmap");
    for (volatile int jump = 0; jump < 500; jump++) {
        if (sigsetjmp(escape, 1) == 0) {
            fault_at(jump % 50 + 1, unreadable + 4096 + 16);
            victim_fail("realloc of unreadable memory came back");
        }
        if (jump % 2 == 0) keep();
        free(sink(malloc(opaque(24))));
    }
}

int main(int argc, char **argv) {
    int inside = argc > 1 && strcmp(argv[1], "inside") == 0;
    victim_ready();
    if (inside)
        run_inside();
    else
        run_caller();
    victim_done();
    return 0;
}
