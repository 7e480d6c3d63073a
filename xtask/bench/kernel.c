// Makes the kernel allocate and release in a loop, on one thread.
//
// kernel SECONDS SLOTS WHAT
//
// WHAT: "eventfd" opens and closes one; "datagram" sends 1,000 bytes through a pair of sockets and receives them;
// "pages" maps 16 pages, touches
// them and unmaps them. Prints SLOTS lines a second, `slot N LOOPS NS CPU_NS`, as pair.c does.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PAGES 16
#define LOOPS_PER_LOOK 64

static int ends[2];

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void open_and_close(void) {
    int fd = eventfd(0, 0);
    if (fd < 0) fail("eventfd");
    close(fd);
}

static void send_and_receive(void) {
    static char text[1000];
    if (send(ends[0], text, sizeof text, 0) < 0) fail("send");
    if (recv(ends[1], text, sizeof text, 0) < 0) fail("recv");
}

static void map_and_unmap(void) {
    char *start = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED) fail("mmap");
    for (int i = 0; i < PAGES; i++) start[i * 4096] = 1;
    munmap(start, PAGES * 4096);
}

static double clock_now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

int main(int argc, char **argv) {
    int seconds = argc > 1 ? atoi(argv[1]) : 0, slots = argc > 2 ? atoi(argv[2]) : 0;
    const char *what = argc > 3 ? argv[3] : "";
    void (*loop)(void) = NULL;
    if (strcmp(what, "eventfd") == 0) loop = open_and_close;
    if (strcmp(what, "datagram") == 0) loop = send_and_receive;
    if (strcmp(what, "pages") == 0) loop = map_and_unmap;
    if (seconds < 1 || slots < 1 || loop == NULL) {
        fprintf(stderr, "usage: kernel SECONDS SLOTS eventfd|datagram|pages\n");
        return 2;
    }
    if (socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) != 0) fail("socketpair");
    for (int slot = 0; slot < seconds * slots; slot++) {
        double start = clock_now(CLOCK_MONOTONIC), cpu = clock_now(CLOCK_PROCESS_CPUTIME_ID), now;
        unsigned long loops = 0;
        do {
            for (int i = 0; i < LOOPS_PER_LOOK; i++) loop();
            loops += LOOPS_PER_LOOK;
            now = clock_now(CLOCK_MONOTONIC);
        } while (now - start < 1.0 / slots);
        cpu = clock_now(CLOCK_PROCESS_CPUTIME_ID) - cpu;
        printf("slot %d %lu %.2f %.2f\n", slot, loops, (now - start) * 1e9 / loops, cpu * 1e9 / loops);
        fflush(stdout);
    }
    return 0;
}
