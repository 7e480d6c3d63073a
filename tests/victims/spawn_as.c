/* spawn_as PID COMMAND ARGS...: runs COMMAND under exactly this PID (clone3 with set_tid; needs root), and exits as it
 * does.
 *
 * A helper for the test of PID reuse, not a victim.
 */
#include <linux/sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "victim.h"

int main(int argc, char **argv) {
    if (argc < 3) victim_fail("a PID and a command wanted");
    pid_t wanted = atoi(argv[1]);
    struct clone_args args = {
        .exit_signal = SIGCHLD,
        .set_tid = (uint64_t)(uintptr_t)&wanted,
        .set_tid_size = 1,
    };
    long child = syscall(SYS_clone3, &args, sizeof args);
    if (child < 0) victim_fail("clone3 with this PID");
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execv(argv[2], argv + 2);
        victim_fail("exec");
    }
    int status = 0;
    if (waitpid((pid_t)child, &status, 0) != child) victim_fail("wait");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
