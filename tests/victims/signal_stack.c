/* A timer's signal interrupts spin(); its handler, on a stack of its own (sigaltstack), leaks 700 bytes from
 * handler_leak().
 *
 * Expected: live 700 bytes, 1 block; handler_leak <- on_signal <- the signal frame <- spin <- work <- main.
 */
#include <signal.h>
#include <sys/time.h>
#include "victim.h"

static volatile sig_atomic_t caught;
static char stack[64 * 1024];

OPAQUE static void handler_leak(void) { victim_check(malloc(opaque(700)), "malloc"); }

OPAQUE static void on_signal(int number) {
    handler_leak();
    caught = number;
}

OPAQUE static size_t spin(size_t seed) {
    while (!caught) seed = opaque(seed) * 3 + 1;
    return seed;
}

OPAQUE static size_t work(size_t seed) { return opaque(spin(seed + 1)); }

int main(void) {
    stack_t other = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
    struct itimerval soon = {.it_value = {.tv_usec = 20000}};
    if (sigaltstack(&other, NULL) != 0 || sigaction(SIGALRM, &action, NULL) != 0) victim_fail("sigaction");
    victim_ready();
    if (setitimer(ITIMER_REAL, &soon, NULL) != 0) victim_fail("setitimer");
    work(opaque(7));
    victim_done();
    return 0;
}
