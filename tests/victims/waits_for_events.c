/* waits_for_events: waits in epoll_wait, in recv with a timeout and in semop, each in a thread of its own, and says at
 * the end how often one of them was interrupted: "done 0". A thread that is stopped has EINTR from all three
 * (signal(7)).
 */
#include "victim.h"

#include <errno.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/time.h>

static int interrupted;
static int semaphore;
static int ends[2];
static int epoll;

static void note(int result) {
    if (result < 0 && errno == EINTR) __atomic_fetch_add(&interrupted, 1, __ATOMIC_SEQ_CST);
}

static void *wait_for_event(void *unused) {
    struct epoll_event event;
    for (;;) note(epoll_wait(epoll, &event, 1, 10000));
    return unused;
}

static void *wait_for_data(void *unused) {
    char byte;
    for (;;) note((int)recv(ends[0], &byte, 1, 0));
    return unused;
}

static void *wait_for_semaphore(void *unused) {
    struct sembuf take = {.sem_num = 0, .sem_op = -1};
    for (;;) note(semop(semaphore, &take, 1));
    return unused;
}

OPAQUE static void lose(void) {
    for (int i = 0; i < 10; i++) victim_check(malloc(opaque(64)), "lost");
}

int main(void) {
    pthread_t thread;
    void *(*const bodies[])(void *) = {wait_for_event, wait_for_data, wait_for_semaphore};
    struct timeval timeout = {.tv_sec = 10};
    struct epoll_event event = {.events = EPOLLIN};
    epoll = epoll_create1(0);
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, eventfd(0, 0), &event)) victim_fail("epoll");
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends)) victim_fail("sockets");
    setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    semaphore = semget(IPC_PRIVATE, 1, 0600);
    for (size_t i = 0; i < 3; i++)
        if (pthread_create(&thread, NULL, bodies[i], NULL)) victim_fail("a thread");
    victim_ready();
    lose();
    victim_step("lost");
    char line[64];
    snprintf(line, sizeof line, "done %d", interrupted);
    semctl(semaphore, 0, IPC_RMID);
    victim_done_with(line);
    _exit(0);
}
