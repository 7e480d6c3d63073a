/* Makes 1000 bytes in leak_old, says "old", waits, makes 2000 bytes in leak_young, and is done.
 *
 * Expected: live 3000 bytes, 2 blocks; with --older between the two ages: 1000 bytes, 1 block.
 */
#include "victim.h"

OPAQUE static void leak_old(void) { victim_check(malloc(opaque(1000)), "malloc"); }
OPAQUE static void leak_young(void) { victim_check(malloc(opaque(2000)), "malloc"); }

int main(void) {
    victim_ready();
    leak_old();
    victim_step("old");
    leak_young();
    victim_done();
    return 0;
}
