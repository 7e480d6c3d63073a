/* Memory that is hard to account for; the argument says which, a function of that name does it.
 *
 * Expected, in pages of 4096 bytes that are mapped at "done" (of these, in memory; allowing no access):
 *   reserve 268435456 (256; all but 256)   thp 1024 (1024)   hugetlb 1024 (1024)   swap 64 (0, all in the swap)
 *   file 64 (64)   inject 64 (64) spawn: 30 children come and go vfork: as many exec: the program replaces itself 100
 *                  times
 * `file` and `inject` need a file of 64 pages and print the address with "done".
 */
#include "victim.h"
#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define PAGE 4096ul
#define HUGE (2ul << 20)
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif
#define RW (PROT_READ | PROT_WRITE)

extern char **environ;

static char *map(size_t pages, int protection, int flags, int file) {
    int backing = file < 0 ? MAP_ANONYMOUS : 0;
    char *at = mmap(NULL, opaque(pages * PAGE), protection, flags | MAP_PRIVATE | backing, file, 0);
    if (at == MAP_FAILED) victim_fail("mmap");
    return sink(at);
}
static void ok(int status) { if (status != 0) victim_fail("a call"); }
static void write_pages(char *at, size_t pages) {
    for (size_t page = 0; page < pages; page++) at[page * PAGE] = 1;
}

/* As runtimes with a collected heap do. */
OPAQUE static void reserve(void) {
    char *at = map(1ul << 28, PROT_NONE, MAP_NORESERVE, -1);
    ok(mprotect(at + (512ul << 30), 256 * PAGE, RW));
    ok(madvise(at + (512ul << 30), 256 * PAGE, MADV_NOHUGEPAGE));
    write_pages(at + (512ul << 30), 256);
}
OPAQUE static void thp(void) {
    char *wide = map(3 * HUGE / PAGE, RW, 0, -1);
    char *at = (char *)(((uintptr_t)wide + HUGE - 1) & ~(HUGE - 1));
    if (at > wide) ok(munmap(wide, (size_t)(at - wide)));
    ok(munmap(at + 2 * HUGE, (size_t)(wide + HUGE - at)));
    ok(madvise(at, 2 * HUGE, MADV_HUGEPAGE));
    write_pages(at, 1024);
}
OPAQUE static void hugetlb(void) {
    char *at = map(3 * HUGE / PAGE, RW, MAP_HUGETLB, -1);
    write_pages(at, 1024);
    /* The kernel rounds the length up to a huge page. */
    ok(munmap(at + 2 * HUGE, HUGE));
}
OPAQUE static void swap(void) {
    char *at = map(64, RW, 0, -1);
    write_pages(at, 64);
    ok(madvise(at, 64 * PAGE, MADV_PAGEOUT));
}
static char *touched_file(const char *path) {
    int file = open(path, O_RDONLY);
    char *at = map(64, PROT_READ, 0, file);
    for (size_t page = 0; page < 64; page++) (void)*(volatile char *)(at + page * PAGE);
    return at;
}
OPAQUE static char *file(const char *path) { return sink(touched_file(path)); }
OPAQUE static char *inject(const char *path) { return sink(touched_file(path)); }
OPAQUE static void spawn(void) {
    char *words[] = {(char *)"true", NULL};
    for (int child = 0; child < 30; child++) {
        pid_t pid;
        int status;
        ok(posix_spawnp(&pid, "true", NULL, NULL, words, environ));
        write_pages(map(2, RW, 0, -1), 2);
        if (waitpid(pid, &status, 0) != pid || status != 0) victim_fail("a child");
    }
}
OPAQUE static void vforks(void) {
    for (int child = 0; child < 30; child++) {
        int status;
        pid_t pid = vfork();
        if (pid == 0) {
            execlp("true", "true", (char *)NULL);
            _exit(1);
        }
        write_pages(map(2, RW, 0, -1), 2);
        if (waitpid(pid, &status, 0) != pid || status != 0) victim_fail("a child");
    }
}
OPAQUE static void exec(char **argv) {
    int left = argv[2] == NULL ? 100 : atoi(argv[2]);
    char number[16];
    write_pages(map(100, RW, 0, -1), 100);
    usleep(20000);
    if (left == 0) return;
    snprintf(number, sizeof number, "%d", left - 1);
    char *again[] = {argv[0], argv[1], number, NULL};
    execv("/proc/self/exe", again);
    victim_fail("exec");
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    char line[64] = "done";
    char *at = NULL;
    if (strcmp(what, "exec") != 0 || argc == 2) victim_ready();
    if (strcmp(what, "reserve") == 0) reserve();
    if (strcmp(what, "thp") == 0) thp();
    if (strcmp(what, "hugetlb") == 0) hugetlb();
    if (strcmp(what, "swap") == 0) swap();
    if (strcmp(what, "file") == 0) at = file(argv[2]);
    if (strcmp(what, "inject") == 0) at = inject(argv[2]);
    if (strcmp(what, "spawn") == 0) spawn();
    if (strcmp(what, "vforks") == 0) vforks();
    if (strcmp(what, "exec") == 0) exec(argv);
    if (at != NULL) snprintf(line, sizeof line, "done %p", (void *)at);
    victim_done_with(line);
    return 0;
}
