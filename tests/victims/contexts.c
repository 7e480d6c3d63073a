/* A context of makecontext leaks 700 bytes from leak_before(), and 900 from leak_after() when it is switched to again.
 *
 * Expected: live 1,600 bytes, 2 blocks; leak_before and leak_after <- in_context <- the C library's start of a context.
 */
#include <ucontext.h>
#include "victim.h"

static ucontext_t outside, inside;
static char stack[64 * 1024];

OPAQUE static void leak_before(void) { victim_check(malloc(opaque(700)), "malloc"); }
OPAQUE static void leak_after(void) { victim_check(malloc(opaque(900)), "malloc"); }

OPAQUE static void in_context(void) {
    leak_before();
    if (swapcontext(&inside, &outside) != 0) victim_fail("swapcontext");
    leak_after();
    __asm__ volatile("");
}

OPAQUE static void enter(void) {
    if (swapcontext(&outside, &inside) != 0) victim_fail("swapcontext");
}

int main(void) {
    if (getcontext(&inside) != 0) victim_fail("getcontext");
    inside.uc_stack.ss_sp = stack;
    inside.uc_stack.ss_size = sizeof stack;
    inside.uc_link = &outside;
    makecontext(&inside, in_context, 0);
    victim_ready();
    enter();
    enter();
    victim_done();
    return 0;
}
