/* hiding_places: one block for each place that may be the only one with a pointer to it, told apart by its size.
 *
 *   in_register (1001)  r12 of a thread that waits in a system call
 *   in_spinner (1002)   r12 of a thread that runs
 *   in_thread (1004)    a variable of a thread
 *   in_specific (1012)  pthread_setspecific
 *   in_epoll (1005)     data of an event that epoll watches for
 *   in_timer (1009)     value of a timer
 *   in_mapping (1010)   an anonymous mapping
 *   in_shared (1011)    shared anonymous memory
 *   in_file (1015)      a file that is mapped and shared
 *   by_inside (1019)    a global, with an address inside of the block
 *   in_global (1021)    a global
 *   in_tagged (1007)    a global, with a tag in the uppermost byte
 *   at_odd (1016)       a member of a packed structure, at an odd address
 *   by_end (1020)       a global with the address behind the block
 *   nowhere (1099)      nothing points to it
 */
#include "victim.h"

#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>

OPAQUE static void *in_register(void) { return victim_check(malloc(opaque(1001)), "1001"); }
OPAQUE static void *in_spinner(void) { return victim_check(malloc(opaque(1002)), "1002"); }
OPAQUE static void *in_thread(void) { return victim_check(malloc(opaque(1004)), "1004"); }
OPAQUE static void *in_epoll(void) { return victim_check(malloc(opaque(1005)), "1005"); }
OPAQUE static void *in_timer(void) { return victim_check(malloc(opaque(1009)), "1009"); }
OPAQUE static void *in_mapping(void) { return victim_check(malloc(opaque(1010)), "1010"); }
OPAQUE static void *in_shared(void) { return victim_check(malloc(opaque(1011)), "1011"); }
OPAQUE static void *in_specific(void) { return victim_check(malloc(opaque(1012)), "1012"); }
OPAQUE static void *in_file(void) { return victim_check(malloc(opaque(1015)), "1015"); }
OPAQUE static void *by_inside(void) { return victim_check(malloc(opaque(1019)), "1019"); }
OPAQUE static void *in_global(void) { return victim_check(malloc(opaque(1021)), "1021"); }
OPAQUE static void *in_tagged(void) { return victim_check(malloc(opaque(1007)), "1007"); }
OPAQUE static void *at_odd(void) { return victim_check(malloc(opaque(1016)), "1016"); }
OPAQUE static void *by_end(void) { return victim_check(malloc(opaque(1020)), "1020"); }
OPAQUE static void nowhere(void) { victim_check(malloc(opaque(1099)), "1099"); }

static pthread_barrier_t started;
static pthread_key_t key;
static __thread void *volatile own;
static void *volatile global;
static char *volatile inside;
static char *volatile end;
static volatile uintptr_t tagged;
static volatile struct __attribute__((packed)) {
    char letter;
    void *block;
} odd;

OPAQUE static void wipe_stack(void) {
    volatile char bytes[16384];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = 0;
}

/* All that a thread may have the pointer in is wiped but r12; then it waits for ever, or spins. */
static void *wait_with_register(void *unused) {
    void *block = in_register();
    __asm__ volatile("mov %0, %%r12\n xor %0, %0" : "+r"(block) : : "r12");
    wipe_stack();
    pthread_barrier_wait(&started);
    __asm__ volatile("1: mov $34, %%eax\n syscall\n jmp 1b" : : : "rax", "rcx", "r11", "r12", "memory");
    return unused;
}

static void *spin_with_register(void *unused) {
    void *block = in_spinner();
    __asm__ volatile("mov %0, %%r12\n xor %0, %0" : "+r"(block) : : "r12");
    wipe_stack();
    pthread_barrier_wait(&started);
    __asm__ volatile("1: pause\n jmp 1b" : : : "r12", "memory");
    return unused;
}

static void *wait_with_variables(void *unused) {
    own = in_thread();
    pthread_setspecific(key, in_specific());
    wipe_stack();
    pthread_barrier_wait(&started);
    for (;;) pause();
    return unused;
}

OPAQUE static void hide(void) {
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = in_epoll()}};
    int epoll = epoll_create1(0), happens = eventfd(0, 0);
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, happens, &event)) victim_fail("epoll");
    struct sigevent signal = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2};
    signal.sigev_value.sival_ptr = in_timer();
    timer_t timer;
    if (timer_create(CLOCK_MONOTONIC, &signal, &timer)) victim_fail("timer");
    memset(&event, 0, sizeof event);
    memset(&signal, 0, sizeof signal);
    void **anonymous = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void **shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int file = memfd_create("file", 0);
    if (ftruncate(file, 4096)) victim_fail("a file");
    void **mapped = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    *anonymous = in_mapping();
    *shared = in_shared();
    *mapped = in_file();
    inside = (char *)by_inside() + 16;
    global = in_global();
    tagged = (uintptr_t)in_tagged() | (uintptr_t)7 << 56;
    odd.block = at_odd();
    end = (char *)by_end() + 1020;
    nowhere();
}

int main(void) {
    pthread_t thread;
    void *(*const bodies[])(void *) = {wait_with_register, spin_with_register, wait_with_variables};
    pthread_key_create(&key, NULL);
    pthread_barrier_init(&started, NULL, 4);
    victim_ready();
    hide();
    wipe_stack();
    for (size_t i = 0; i < 3; i++)
        if (pthread_create(&thread, NULL, bodies[i], NULL)) victim_fail("a thread");
    pthread_barrier_wait(&started);
    wipe_stack();
    victim_done();
    _exit(0);
}
