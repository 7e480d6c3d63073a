/* A process of an idle host: has made a hundred blocks, and sleeps until it is killed. Says "ready" by closing its
 * standard output. */
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

void *volatile kept[100];

int main(void) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int i = 0; i < 100; i++) kept[i] = malloc(100);
    close(STDOUT_FILENO);
    for (;;) pause();
}
