/* sleepers COUNT: forks COUNT children that do nothing, for a minute at most; all end with it. */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include "victim.h"

int main(int argc, char **argv) {
    int count = argc > 1 ? atoi(argv[1]) : 1;
    pid_t parent = getpid();
    for (int i = 0; i < count; i++) {
        pid_t child = fork();
        if (child < 0) victim_fail("fork");
        if (child > 0) continue;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        alarm(60);
        if (getppid() == parent) pause();
        _exit(0);
    }
    alarm(60);
    victim_ready();
    victim_done();
    return 0;
}
