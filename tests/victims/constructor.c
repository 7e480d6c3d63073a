/* A library whose constructor leaks 1,100 bytes from leak_in_constructor(), before main() of the program that needs it.
 */
#include <stdlib.h>
#include "victim.h"

OPAQUE static void leak_in_constructor(void) { victim_check(malloc(opaque(1100)), "malloc"); }

__attribute__((constructor)) static void construct(void) {
    leak_in_constructor();
    __asm__ volatile("");
}
