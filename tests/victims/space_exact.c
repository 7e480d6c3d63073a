/* Maps and unmaps in every way that memlens follows, each by a function of its own.
 *
 * Expected, in pages of 4096 bytes that are mapped at "done" (of these, written):
 *   holed 13 (13), overmapped 12 (0), over 4 (4), moved 8 (8), grown 8 (0), doubled 4 (0), keep 4 (0),
 *   shrunk 3 (3), reserved 262144 (2) of which all but 2 allow no access, shared 6 (6), attached 5 (5), broken 7 (7),
 *   thread_stack 64 (1), file_mapped 2 (2), nothing by detached, and nothing by undone.
 */
#include "victim.h"
#include <fcntl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>

#define PAGE 4096ul
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define RW (PROT_READ | PROT_WRITE)

static char *check(void *where) {
    if (where == MAP_FAILED) _exit(96);
    return sink(where);
}
static void ok(int status) { if (status != 0) _exit(95); }
static char *map(size_t pages, int protection, int flags) {
    return check(mmap(NULL, opaque(pages * PAGE), protection, flags, -1, 0));
}
static void write_pages(char *at, size_t pages) {
    for (size_t page = 0; page < pages; page++) at[page * PAGE] = 1;
}

/* Unmapped at both ends and in the middle: 20 - 2 - 3 - 2. */
OPAQUE static void holed(void) {
    char *at = map(20, RW, ANON);
    write_pages(at, 20);
    ok(munmap(at, 2 * PAGE));
    ok(munmap(at + 8 * PAGE, 3 * PAGE));
    ok(munmap(at + 18 * PAGE, 2 * PAGE));
}
static char *base;
OPAQUE static void overmapped(void) { base = map(16, RW, ANON); }
OPAQUE static void over(void) {
    write_pages(check(mmap(base + 4 * PAGE, 4 * PAGE, RW, ANON | MAP_FIXED, -1, 0)), 4);
}
/* Moved by mremap, and grown there by another function. */
OPAQUE static void moved(void) { base = map(8, RW, ANON); write_pages(base, 8); }
OPAQUE static void grown(void) {
    char *wall = map(64, PROT_NONE, ANON);
    ok(munmap(wall, 64 * PAGE));
    base = check(mremap(base, 8 * PAGE, 16 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, wall));
}
OPAQUE static void doubled(void) { base = map(4, RW, ANON); }
OPAQUE static void keep(void) {
    check(mremap(base, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL));
}
OPAQUE static void shrunk(void) {
    char *at = map(10, RW, ANON);
    write_pages(at, 10);
    check(mremap(at, 10 * PAGE, 3 * PAGE, 0));
}
OPAQUE static void reserved(void) {
    char *at = map(262144, PROT_NONE, ANON | MAP_NORESERVE);
    ok(mprotect(at + 100 * PAGE, 2 * PAGE, RW));
    write_pages(at + 100 * PAGE, 2);
}
OPAQUE static void shared(void) { write_pages(map(6, RW, MAP_SHARED | MAP_ANONYMOUS), 6); }
static char *attach(size_t pages) {
    int segment = shmget(IPC_PRIVATE, pages * PAGE, IPC_CREAT | 0600);
    char *at = check(shmat(segment, NULL, 0));
    ok(shmctl(segment, IPC_RMID, NULL));
    write_pages(at, pages);
    return at;
}
OPAQUE static void attached(void) { attach(5); sink(NULL); }
OPAQUE static void detached(void) { ok(shmdt(attach(9))); }
/* Up, down, and to the middle of a page. */
OPAQUE static void broken(void) {
    char *heap = (char *)syscall(SYS_brk, 0);
    char *start = (char *)(((uintptr_t)heap + PAGE - 1) & ~(PAGE - 1));
    syscall(SYS_brk, start + 12 * PAGE);
    write_pages(start, 12);
    if ((char *)syscall(SYS_brk, start + 6 * PAGE + 10) != start + 6 * PAGE + 10) _exit(94);
}
OPAQUE static void thread_stack(void) {
    write_pages(check(mmap(NULL, 64 * PAGE, RW, ANON | MAP_STACK, -1, 0)) + 63 * PAGE, 1);
}
OPAQUE static void file_mapped(void) {
    int file = open("/proc/self/exe", O_RDONLY);
    char *at = check(mmap(NULL, PAGE + 1, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0));
    if (file < 0 || at[0] != 0x7f || at[PAGE] == 0x7f) at = sink(at);
    close(file);
}
OPAQUE static void undone(void) {
    char *at = map(30, RW, ANON);
    ok(munmap(at, 30 * PAGE));
    /* None of these does anything. */
    if (munmap(at + 1, PAGE) == 0 || mmap(NULL, 0, RW, ANON, -1, 0) != MAP_FAILED) _exit(93);
    if (mremap(at, PAGE, 2 * PAGE, 0) != MAP_FAILED || syscall(SYS_brk, 1) == 1) _exit(92);
}

int main(void) {
    victim_ready();
    holed();
    overmapped();
    over();
    moved();
    grown();
    doubled();
    keep();
    shrunk();
    reserved();
    shared();
    attached();
    detached();
    broken();
    thread_stack();
    file_mapped();
    undone();
    victim_done();
    return 0;
}
