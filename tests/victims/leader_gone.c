/* At "go" a thread of its own leaks 30000 bytes in 1 block from leak_alone, after the main thread has ended: what
 * /proc/PID itself shows of maps, root and executable is empty from then on.
 *
 * Expected: live 30000 bytes, 1 block from leak_alone. (pthread_exit loads a library, which allocates; that is over by
 * "ready".)
 */
#include <pthread.h>
#include "victim.h"

static pthread_t leader;

OPAQUE static void leak_alone(void) { victim_check(malloc(opaque(30000)), "malloc"); }

static void *work(void *unused) {
    (void)unused;
    pthread_join(leader, NULL);
    victim_ready();
    leak_alone();
    victim_done();
    _exit(0);
}

int main(void) {
    pthread_t thread;
    leader = pthread_self();
    if (pthread_create(&thread, NULL, work, NULL) != 0) victim_fail("pthread_create");
    pthread_exit(NULL);
}
