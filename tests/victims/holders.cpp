/* holders: 20,000 buffers of 300 bytes (new_buffer), each held by a Session (a class with virtual functions) that a
 * shared pointer of the global map `sessions` holds; 500 of 500 bytes (new_text) by a vector that is a variable of a
 * thread; 1,000 of 200 bytes (new_link) in one linked list from the global `journal`; and 10 of 640 bytes (lose) that
 * nothing holds.
 */
extern "C" {
#include "victim.h"
}
#include <memory>
#include <pthread.h>
#include <unordered_map>
#include <vector>

struct Session {
    virtual ~Session() = default;
    char *buffer = nullptr;
    uint64_t id[6] = {};
};

struct Link {
    Link *next;
    char text[192];
};

std::unordered_map<int, std::shared_ptr<Session>> sessions;
Link *journal;
static thread_local std::vector<char *> texts;
static pthread_barrier_t started;

OPAQUE static char *new_buffer() { return static_cast<char *>(victim_check(malloc(opaque(300)), "buffer")); }
OPAQUE static char *new_text() { return static_cast<char *>(victim_check(malloc(opaque(500)), "text")); }
OPAQUE static Link *new_link() { return static_cast<Link *>(victim_check(malloc(opaque(200)), "link")); }
OPAQUE static void lose() { victim_check(malloc(opaque(640)), "lost"); }

OPAQUE static void wipe_stack() {
    volatile char bytes[16384];
    for (auto &byte : bytes) byte = 0;
}

static void *hold(void *unused) {
    for (int i = 0; i < 500; i++) texts.push_back(new_text());
    wipe_stack();
    pthread_barrier_wait(&started);
    for (;;) pause();
    return unused;
}

int main() {
    pthread_t thread;
    pthread_barrier_init(&started, nullptr, 2);
    victim_ready();
    for (int i = 0; i < 20000; i++) {
        auto session = std::make_shared<Session>();
        session->buffer = new_buffer();
        sessions[i] = session;
    }
    for (int i = 0; i < 1000; i++) {
        Link *link = new_link();
        link->next = journal;
        journal = link;
    }
    for (int i = 0; i < 10; i++) lose();
    if (pthread_create(&thread, nullptr, hold, nullptr)) victim_fail("a thread");
    pthread_barrier_wait(&started);
    wipe_stack();
    victim_done();
    _exit(0);
}
