/* deep_recursion [DEPTH]: leaks 640 bytes from bottom(), DEPTH (400 unless given) frames of dive() below main.
 *
 * Expected: live 640 bytes, 1 block; the stack is marked as cut where it is deeper than the limit.
 */
#include "victim.h"

OPAQUE static void *bottom(void) { return victim_check(malloc(opaque(640)), "malloc"); }

OPAQUE static void *dive(int frames) { return frames > 0 ? sink(dive(frames - 1)) : sink(bottom()); }

int main(int argc, char **argv) {
    int depth = argc > 1 ? atoi(argv[1]) : 400;
    victim_ready();
    dive(depth);
    victim_done();
    return 0;
}
