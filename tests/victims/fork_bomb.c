/* fork_bomb SECONDS: forks as fast as it can, and so do its children, each of which takes a block; all of them end by
 * themselves after that time. To be run in a cgroup that limits how many there are.
 */
#include <sys/wait.h>
#include <time.h>
#include "victim.h"

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    if (argc < 2) victim_fail("a time wanted");
    double seconds = atof(argv[1]);
    victim_ready();
    for (double end = now() + seconds; now() < end;) {
        pid_t child = fork();
        if (child == 0) sink(malloc(opaque(100)));
        /* No more room in the cgroup. */
        if (child < 0) usleep(1000);
        while (waitpid(-1, NULL, WNOHANG) > 0) continue;
    }
    while (wait(NULL) > 0) continue;
    return 0;
}
