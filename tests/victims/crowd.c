/* crowd COUNT [AT_ONCE]: at "go" forks COUNT children, AT_ONCE (16) of them at a time; each leaks 100 bytes in 1 block
 * from leak_short and ends at once. After "done" it waits like every victim.
 *
 * Expected: each child 100 bytes, 1 block; the parent, which leaks 500 bytes from leak_parent at the end, 500 bytes, 1
 * block.
 */
#include <sys/wait.h>
#include "victim.h"

OPAQUE static void leak_short(void) { victim_check(malloc(opaque(100)), "malloc"); }
OPAQUE static void leak_parent(void) { victim_check(malloc(opaque(500)), "malloc"); }

static void reap(void) {
    int status = -1;
    if (wait(&status) < 0 || status != 0) victim_fail("a child failed");
}

int main(int argc, char **argv) {
    if (argc < 2) victim_fail("a count wanted");
    int count = atoi(argv[1]), at_once = argc > 2 ? atoi(argv[2]) : 16, running = 0;
    victim_ready();
    for (int i = 0; i < count; i++) {
        if (running == at_once) {
            reap();
            running--;
        }
        pid_t child = fork();
        if (child < 0) victim_fail("fork");
        if (child == 0) {
            leak_short();
            _exit(0);
        }
        running++;
    }
    while (running-- > 0) reap();
    leak_parent();
    victim_done();
    return 0;
}
