/* Touches memory in every way that a page comes in, each by a function of its own.
 *
 * Expected, in page faults at "done" (of these, bringing in a page of 4096 bytes that counts as memory):
 *   written 1000 (1000), looked 200 (0: the page of zeros), copied 300 (0: pages that a child shares), filled 150 (150:
 *   by the kernel in read()), refused 40 (0: no access, so no fault is counted), again 500 (500, of what written() had
 *   mapped and gave back).
 */
#include "victim.h"
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define PAGE 4096ul

static sigjmp_buf out;
static void on_fault(int number) { siglongjmp(out, number); }

OPAQUE static char *take(size_t pages, int protection) {
    char *at = mmap(NULL, opaque(pages * PAGE), protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) _exit(96);
    if (madvise(at, pages * PAGE, MADV_NOHUGEPAGE) != 0) _exit(95);
    return sink(at);
}
OPAQUE static char *mapped_for_writing(void) { return take(1000, PROT_READ | PROT_WRITE); }
OPAQUE static void written(char *at) {
    for (size_t page = 0; page < 1000; page++) at[page * PAGE] = 1;
    sink(at);
}
OPAQUE static void again(char *at) {
    for (size_t page = 0; page < 500; page++) at[page * PAGE] = 1;
    sink(at);
}
OPAQUE static void looked(char *at) {
    for (size_t page = 0; page < 200; page++) (void)*(volatile char *)(at + page * PAGE);
    sink(at);
}
OPAQUE static void copied(char *at) {
    for (size_t page = 0; page < 300; page++) at[page * PAGE] = 2;
    sink(at);
}
OPAQUE static void filled(char *at) {
    int zero = open("/dev/zero", O_RDONLY);
    if (read(zero, at, 150 * PAGE) != (ssize_t)(150 * PAGE)) _exit(94);
    close(zero);
}
OPAQUE static void refused(volatile char *at) {
    static volatile size_t page;
    for (page = 0; page < 40; page++)
        if (sigsetjmp(out, 1) == 0) at[page * PAGE] = 1;
}

int main(void) {
    /* All code and the stack come in now: on a slow machine each function's own code would come in with what it does. */
    if (mlockall(MCL_CURRENT) != 0 || munlockall() != 0) _exit(97);
    char *wide = mapped_for_writing();
    char *shared = take(300, PROT_READ | PROT_WRITE);
    char *closed = take(40, PROT_NONE);
    char *seen = take(200, PROT_READ | PROT_WRITE);
    char *target = take(150, PROT_READ | PROT_WRITE);
    struct sigaction action = {.sa_handler = on_fault};
    int pipes[2];
    sigaction(SIGSEGV, &action, NULL);
    memset(shared, 1, 300 * PAGE);
    victim_ready();
    written(wide);
    looked(seen);
    filled(target);
    refused(closed);
    if (madvise(wide, 500 * PAGE, MADV_DONTNEED) != 0 || pipe(pipes) != 0) _exit(93);
    again(wide);
    pid_t child = fork();
    if (child == 0) {
        char byte;
        close(pipes[1]);
        _exit(read(pipes[0], &byte, 1) == 0 ? 0 : 1);
    }
    /* The child holds the pages until the pipe closes. */
    copied(shared);
    close(pipes[1]);
    if (child < 0 || waitpid(child, NULL, 0) != child) _exit(92);
    victim_done();
    return 0;
}
