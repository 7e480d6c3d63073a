/* leak_soon [MS]: says "ready" at once and, without waiting for "go", leaks 30000 bytes in 1 block from leak_late MS
 * (200) milliseconds after its start; then "done".
 *
 * Expected: live 30000 bytes, 1 block. The test has said nothing in between: a tracer that attaches meanwhile has MS to
 * do so.
 */
#include "victim.h"

OPAQUE static void leak_late(void) { victim_check(malloc(opaque(30000)), "malloc"); }

int main(int argc, char **argv) {
    char line[64];
    snprintf(line, sizeof line, "ready %d", (int)getpid());
    victim_say(line);
    usleep((useconds_t)(argc > 1 ? atoi(argv[1]) : 200) * 1000);
    leak_late();
    /* A static program has what it calls: malloc without free would be no allocator. */
    free(sink(NULL));
    victim_done();
    return 0;
}
