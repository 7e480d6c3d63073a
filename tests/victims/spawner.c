/* spawner COUNT PER_SECOND PROGRAM [ARG...]: at "go" starts COUNT processes one after the other, so many a second, by
 * vfork and execvee, and waits for each (at once if PER_SECOND is 0). Between vfork and execve the child takes 300
 * bytes from leak_guest, in the parent's memory.
 *
 * Expected: 300 * COUNT bytes, COUNT blocks in the parent, all from leak_guest; what PROGRAM holds is its own.
 */
#include <sys/wait.h>
#include <time.h>
#include "victim.h"

/* The programs run without a test that talks to them. */
static char *const freely[] = {"VICTIM_FREE_RUN=1", NULL};

OPAQUE static void leak_guest(void) { victim_check(malloc(opaque(300)), "malloc"); }

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

int main(int argc, char **argv) {
    if (argc < 4) victim_fail("a count, a rate and a program wanted");
    int count = atoi(argv[1]);
    double rate = atof(argv[2]);
    victim_ready();
    /* A process that has called its allocator is known, and so are its guests. */
    free(victim_check(malloc(opaque(1)), "malloc"));
    double start = now();
    for (int i = 0; i < count; i++) {
        double ahead = rate > 0 ? start + i / rate - now() : 0;
        if (ahead > 0) usleep((useconds_t)(ahead * 1e6));
        pid_t child = vfork();
        if (child < 0) victim_fail("vfork");
        if (child == 0) {
            leak_guest();
            execve(argv[3], argv + 3, freely);
            _exit(127);
        }
        int status = -1;
        if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) == 127) victim_fail("a program failed");
    }
    victim_done();
    return 0;
}
