/* Leaks 5000 bytes from leak_before, execs itself, says "ready" again, and leaks 8000 bytes from leak_after.
 *
 * Expected: a row of the replaced program with 5000 bytes in 1 block, a row of the running one with 8000 in 1.
 */
#include "victim.h"

OPAQUE static void leak_before(void) { victim_check(malloc(opaque(5000)), "malloc"); }
OPAQUE static void leak_after(void) { victim_check(malloc(opaque(8000)), "malloc"); }

int main(int argc, char **argv) {
    victim_ready();
    if (argc > 1 && strcmp(argv[1], "again") == 0) {
        leak_after();
        victim_done();
        return 0;
    }
    leak_before();
    char *again[] = {argv[0], (char *)"again", NULL};
    execv("/proc/self/exe", again);
    victim_fail("exec");
}
