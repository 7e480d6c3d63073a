/* admitted HOW: a program that is traced from its first call on, without having been named.
 *
 * leak    leaks 3 blocks of 1000 bytes from leak_one.
 * many    makes and frees 100000 blocks of 64 bytes, then leaks 2 blocks of 500 bytes from leak_one.
 * fork    leaks 1000 bytes, forks; the child frees that block, leaks 2 blocks of 300 bytes and waits for the parent's
 *         end.
 * vfork   makes 2 blocks of 700 bytes, vforks; the child, in the parent's memory, frees one and makes another of 200.
 *         The parent frees the other 700: it holds 200 bytes in 1 block, from leak_one.
 * race    four threads begin together and leak 1000 bytes each, from leak_one: 4000 bytes in 4 blocks.
 *
 * Linked statically, so that nobody else runs its allocator. Counts hold for leak_one alone: stdio and threads
 * allocate, too.
 */
#include <pthread.h>
#include <sys/wait.h>
#include "victim.h"

OPAQUE static void *leak_one(size_t size) { return victim_check(malloc(opaque(size)), "malloc"); }

static pthread_barrier_t start;

static void *racer(void *unused) {
    (void)unused;
    pthread_barrier_wait(&start);
    return leak_one(1000);
}

static void race(void) {
    pthread_t threads[4];
    pthread_barrier_init(&start, NULL, 4);
    for (int i = 0; i < 4; i++)
        if (pthread_create(&threads[i], NULL, racer, NULL) != 0) victim_fail("pthread_create");
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
}

static void fork_one(void) {
    void *block = leak_one(1000);
    int ends[2];
    if (pipe(ends) != 0) victim_fail("pipe");
    pid_t child = fork();
    if (child < 0) victim_fail("fork");
    if (child == 0) {
        char byte;
        close(ends[1]);
        free(sink(block));
        leak_one(300);
        leak_one(300);
        if (read(ends[0], &byte, 1) < 0) _exit(1);
        _exit(0);
    }
    close(ends[0]);
}

static void *volatile shared[2];

static void vfork_one(void) {
    shared[0] = leak_one(700);
    shared[1] = leak_one(700);
    pid_t child = vfork();
    if (child < 0) victim_fail("vfork");
    if (child == 0) {
        free(shared[0]);
        shared[0] = leak_one(200);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    free(shared[1]);
}

int main(int argc, char **argv) {
    const char *how = argc > 1 ? argv[1] : "leak";
    victim_ready();
    if (strcmp(how, "fork") == 0) {
        fork_one();
    } else if (strcmp(how, "vfork") == 0) {
        vfork_one();
    } else if (strcmp(how, "race") == 0) {
        race();
    } else if (strcmp(how, "many") == 0) {
        for (int i = 0; i < 100000; i++) free(victim_check(malloc(opaque(64)), "malloc"));
        leak_one(500);
        leak_one(500);
    } else {
        for (int i = 0; i < 3; i++) leak_one(1000);
    }
    victim_done();
    return 0;
}
