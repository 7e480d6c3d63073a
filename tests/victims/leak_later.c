/* Leaks 300 bytes from leak_now() at once, and 900 bytes from leak_later() 0.7 seconds later. Speaks no protocol.
 *
 * Expected: live 1200 bytes, 2 blocks.
 */
#include "victim.h"

OPAQUE static void leak_now(void) { victim_check(malloc(opaque(300)), "malloc"); }
OPAQUE static void leak_later(void) { victim_check(malloc(opaque(900)), "malloc"); }

int main(void) {
    leak_now();
    usleep(700 * 1000);
    leak_later();
    return 0;
}
