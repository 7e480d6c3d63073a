/* Leaks 1000 bytes from leak_step after each "go", and answers "step"; ends at "exit".
 *
 * Expected: live 1000 * steps bytes, as many blocks; every report shows what grew since the last one. Before that, one
 * block of 50000 bytes from leak_once at the first "go".
 */
#include "victim.h"

OPAQUE static void leak_once(void) { victim_check(malloc(opaque(50000)), "malloc"); }
OPAQUE static void leak_step(void) { victim_check(malloc(opaque(1000)), "malloc"); }

int main(void) {
    victim_ready();
    leak_once();
    do {
        leak_step();
        victim_say("step");
    } while (victim_wait() && !victim_free_run());
    return 0;
}
