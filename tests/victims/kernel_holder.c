/* Makes the kernel hold memory: argv[1] says what, argv[2] how many.
 *
 *   eventfd, timerfd, epoll, pipe, socket   that many descriptors
 *   pipe_pages                              one pipe with that many full pages in it
 *   epoll_items                             one epoll with that many eventfds in it
 *   queued                                  a pair of sockets with that many datagrams of 1,000 bytes in it
 *   percpu                                  that many per-CPU BPF arrays of one element of 64 bytes
 *
 * "held": all are open. With argv[3] every second one is closed then: "thinned". After the next line, "closed": none
 * is.
 */
#include "victim.h"

#include <fcntl.h>
#include <linux/bpf.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

#define MOST 20000

static int open_fds[2 * MOST];
static size_t open_count;

static void keep(int fd) {
    if (fd < 0) victim_fail("cannot open");
    open_fds[open_count++] = fd;
}

static void keep_pair(int result, const int pair[2]) {
    if (result != 0) victim_fail("cannot open a pair");
    keep(pair[0]);
    keep(pair[1]);
}

static int percpu_array(void) {
    union bpf_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.map_type = BPF_MAP_TYPE_PERCPU_ARRAY;
    attributes.key_size = 4;
    attributes.value_size = 64;
    attributes.max_entries = 1;
    return (int)syscall(SYS_bpf, BPF_MAP_CREATE, &attributes, sizeof attributes);
}

static void fill_pipe(size_t pages) {
    static char page[4096];
    int ends[2];
    keep_pair(pipe(ends), ends);
    if (fcntl(ends[1], F_SETPIPE_SZ, (int)(pages * sizeof page)) < 0) victim_fail("F_SETPIPE_SZ");
    for (size_t i = 0; i < pages; i++)
        if (write(ends[1], page, sizeof page) != sizeof page) victim_fail("write");
}

static void queue(size_t datagrams) {
    static char text[1000];
    int ends[2], room = 64 << 20;
    keep_pair(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends), ends);
    if (setsockopt(ends[0], SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room) != 0) victim_fail("SO_SNDBUFFORCE");
    for (size_t i = 0; i < datagrams; i++)
        if (send(ends[0], text, sizeof text, MSG_DONTWAIT) != sizeof text) victim_fail("send");
}

/* As many as may be: where the limit itself must not be raised, up to that. */
static void allow_descriptors(void) {
    struct rlimit limit = {2 * MOST + 100, 2 * MOST + 100};
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0) return;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) victim_fail("RLIMIT_NOFILE");
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) victim_fail("RLIMIT_NOFILE");
}

/* Items of one epoll, which the kernel releases by kfree_rcu. */
static void watch(size_t count) {
    struct epoll_event event = {EPOLLIN, {0}};
    int epoll = epoll_create1(0);
    keep(epoll);
    for (size_t i = 0; i < count; i++) {
        keep(eventfd(0, 0));
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, open_fds[open_count - 1], &event) != 0) victim_fail("epoll_ctl");
    }
}

static void hold(const char *what, size_t count) {
    int ends[2];
    if (strcmp(what, "pipe_pages") == 0) {
        fill_pipe(count);
        return;
    }
    if (strcmp(what, "epoll_items") == 0) {
        watch(count);
        return;
    }
    if (strcmp(what, "queued") == 0) {
        queue(count);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (strcmp(what, "eventfd") == 0) keep(eventfd(0, 0));
        else if (strcmp(what, "timerfd") == 0) keep(timerfd_create(CLOCK_MONOTONIC, 0));
        else if (strcmp(what, "epoll") == 0) keep(epoll_create1(0));
        else if (strcmp(what, "pipe") == 0) keep_pair(pipe(ends), ends);
        else if (strcmp(what, "socket") == 0) keep(socket(AF_INET, SOCK_DGRAM, 0));
        else if (strcmp(what, "percpu") == 0) keep(percpu_array());
        else victim_fail("what?");
    }
}

static void thin_out(void) {
    for (size_t i = 0; i < open_count; i += 2) close(open_fds[i]);
    for (size_t i = 1; i < open_count; i += 2) open_fds[i / 2] = open_fds[i];
    open_count /= 2;
}

/* On another thread, and so perhaps on another CPU. */
static void *close_all(void *unused) {
    for (size_t i = 0; i < open_count; i++) close(open_fds[i]);
    return unused;
}

int main(int argc, char **argv) {
    pthread_t thread;
    size_t count = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
    if (count == 0 || count > MOST) victim_fail("arguments");
    allow_descriptors();
    victim_ready();
    hold(argv[1], count);
    victim_step("held");
    if (argc > 3) {
        thin_out();
        victim_step("thinned");
    }
    if (pthread_create(&thread, NULL, close_all, NULL) != 0) victim_fail("thread");
    pthread_join(thread, NULL);
    victim_done_with("closed");
    return 0;
}
