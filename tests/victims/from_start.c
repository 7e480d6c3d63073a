/* Leaks 2222 bytes from leak_constructor, before main, and 3333 from leak_destructor, after it. It does not speak the
 * protocol.
 *
 * Expected as a traced command: live 5555 bytes, 2 blocks.
 */
#include "victim.h"

OPAQUE static void leak_constructor(void) { victim_check(malloc(opaque(2222)), "malloc"); }
OPAQUE static void leak_destructor(void) { victim_check(malloc(opaque(3333)), "malloc"); }

__attribute__((constructor)) static void before(void) { leak_constructor(); }
__attribute__((destructor)) static void after(void) { leak_destructor(); }

int main(void) { return 0; }
