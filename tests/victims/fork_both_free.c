/* fork_both_free free|keep: the parent makes 500 blocks of 111 bytes and forks. The child frees all of
 * them and leaks 777 bytes of its own. Then the parent frees all (free) or keeps them (keep).
 *
 * Expected for the parent: free 0 bytes 0 blocks, keep 55500 bytes 500 blocks from make(); the child gives nothing.
 */
#include <sys/wait.h>
#include "victim.h"

static void *blocks[500];

OPAQUE static void *make(void) { return victim_check(malloc(opaque(111)), "malloc"); }
OPAQUE static void child_leak(void) { victim_check(malloc(opaque(777)), "malloc"); }

static void free_all(void) {
    for (int i = 0; i < 500; i++) free(sink(blocks[i]));
}

int main(int argc, char **argv) {
    int keep = argc > 1 && strcmp(argv[1], "keep") == 0;
    victim_ready();
    for (int i = 0; i < 500; i++) blocks[i] = make();
    pid_t child = fork();
    if (child < 0) victim_fail("fork");
    if (child == 0) {
        free_all();
        child_leak();
        _exit(0);
    }
    int status = -1;
    if (waitpid(child, &status, 0) != child || status != 0) victim_fail("the child failed");
    if (!keep) free_all();
    victim_done();
    return 0;
}
