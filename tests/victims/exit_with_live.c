/* exit_with_live [exit|thread|abort|kill]: leaks 30000 bytes in 3 blocks from leak_three and ends at once, without
 * "done": by exit(5), by the main thread's pthread_exit while another lives on for a moment, by abort or by SIGKILL.
 *
 * Expected: live 30000 bytes, 3 blocks, in a row whose state is "exited", with symbols.
 */
#include <pthread.h>
#include <signal.h>
#include "victim.h"

OPAQUE static void leak_three(void) {
    for (int i = 0; i < 3; i++) victim_check(malloc(opaque(10000)), "malloc");
}

static pthread_barrier_t barrier;

static void *last(void *unused) {
    (void)unused;
    pthread_barrier_wait(&barrier);
    usleep(200000);
    _exit(5);
}

int main(int argc, char **argv) {
    const char *how = argc > 1 ? argv[1] : "exit";
    pthread_t thread;
    pthread_barrier_init(&barrier, NULL, 2);
    if (strcmp(how, "thread") == 0) pthread_create(&thread, NULL, last, NULL);
    victim_ready();
    leak_three();
    if (strcmp(how, "thread") == 0) {
        pthread_barrier_wait(&barrier);
        pthread_exit(NULL);
    }
    if (strcmp(how, "abort") == 0) abort();
    if (strcmp(how, "kill") == 0) raise(SIGKILL);
    exit(5);
}
