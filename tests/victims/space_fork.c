/* A parent that maps, forks a child that maps and unmaps on its own, and lends its memory to a third process (vfork).
 * space_fork [orphan]: the parent ends at "done" and leaves its child behind.
 *
 * Expected, in pages of 4096 bytes that are mapped at "done CHILD":
 *   parent: in_parent 10, later 3, guest 5, not_forked 2
 *   child:  in_parent 10 - 4, in_child 7
 */
#include "victim.h"
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define PAGE 4096ul

static char *map(size_t pages) {
    char *at = mmap(NULL, opaque(pages * PAGE), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) victim_fail("mmap");
    return sink(at);
}
static char *shared;
OPAQUE static void in_parent(void) { shared = map(10); }
OPAQUE static void not_forked(void) {
    if (madvise(map(2), 2 * PAGE, MADV_DONTFORK) != 0) victim_fail("madvise");
}
OPAQUE static void later(void) { map(3); }
OPAQUE static void in_child(void) { map(7); }
OPAQUE static void guest(void) { map(5); }

static char guest_stack[64 << 10] __attribute__((aligned(16)));
static int run_guest(void *unused) {
    (void)unused;
    guest();
    _exit(0);
}

int main(int count, char **arguments) {
    int is_orphan = count > 1 && strcmp(arguments[1], "orphan") == 0;
    int done[2];
    char line[64], byte = 0;
    victim_ready();
    in_parent();
    not_forked();
    if (pipe(done) != 0) victim_fail("pipe");
    pid_t child = fork();
    if (child < 0) victim_fail("fork");
    if (child == 0) {
        if (!is_orphan) prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (munmap(shared + 3 * PAGE, 4 * PAGE) != 0) victim_fail("munmap");
        in_child();
        if (write(done[1], &byte, 1) != 1) _exit(94);
        if (is_orphan) {
            /* Until the test ends it, or for a minute. */
            snprintf(line, sizeof line, "done %d", (int)getpid());
            victim_say(line);
            alarm(60);
        }
        for (;;) pause();
    }
    if (read(done[0], &byte, 1) != 1) victim_fail("the child");
    if (is_orphan) return 0;
    later();
    int flags = CLONE_VM | CLONE_VFORK | SIGCHLD;
    pid_t third = clone(run_guest, guest_stack + sizeof guest_stack, flags, NULL);
    if (third < 0 || waitpid(third, NULL, 0) != third) victim_fail("clone");
    snprintf(line, sizeof line, "done %d", (int)child);
    victim_done_with(line);
    kill(child, SIGKILL);
    return 0;
}
