/* Leaks from three functions: leak_tiny 1000 blocks of 8 bytes, leak_middle 100 blocks of 500, leak_large 2 blocks of
 * 100000.
 *
 * Expected: 8000 bytes 1000 blocks, 50000 bytes 100 blocks, 200000 bytes 2 blocks: 258000 bytes, 1102 blocks.
 */
#include "victim.h"

OPAQUE static void leak_tiny(void) { victim_check(malloc(opaque(8)), "malloc"); }
OPAQUE static void leak_middle(void) { victim_check(malloc(opaque(500)), "malloc"); }
OPAQUE static void leak_large(void) { victim_check(malloc(opaque(100000)), "malloc"); }

int main(void) {
    victim_ready();
    for (size_t i = 0; i < opaque(2); i++) leak_large();
    for (int i = 0; i < 100; i++) leak_middle();
    for (int i = 0; i < 1000; i++) leak_tiny();
    victim_done();
    return 0;
}
