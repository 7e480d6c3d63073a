/* THREADS threads with stacks of 1 MiB, which sleep after they have touched 64 KiB each.
 *
 *   stacks_of THREADS
 */
#include "victim.h"

#include <pthread.h>

static pthread_barrier_t begun;

static void *sleeper(void *argument) {
    char touched[65536];
    memset(touched, 1, sizeof touched);
    sink(touched);
    pthread_barrier_wait(&begun);
    for (;;) pause();
    return argument;
}

int main(int count, char **words) {
    unsigned threads = count == 2 ? (unsigned)atoi(words[1]) : 1;
    pthread_attr_t attributes;
    pthread_t id;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 1 << 20);
    pthread_barrier_init(&begun, NULL, threads + 1);
    for (unsigned i = 0; i < threads; i++) {
        if (pthread_create(&id, &attributes, sleeper, NULL) != 0) victim_fail("pthread_create");
    }
    pthread_barrier_wait(&begun);
    victim_ready();
    victim_done();
    return 0;
}
