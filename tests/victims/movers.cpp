/* movers KIND [NODES]: leaks 100 blocks of 777 bytes (lose_blocks), then holds NODES (200,000) nodes (new_node) and
 * moves the only pointers to them about in a thread of its own, as fast as it can, until a line comes. Every node is
 * held all the time, but for some by a register alone.
 *
 *   splice  a node from one of 1,024 lists to another
 *   hold    the same, and it is held by a register for a while
 *   sleep   the same, and it is held by the stack of a thread that sleeps for 2 ms
 *   chains  the tails of lists to other lists
 *   sort    nodes of a table change places, each with any other
 *   xor     the same, by three exclusive ors
 *   tree    a node of a map to another key
 *   churn   the object of a node of a hash table is replaced by a copy
 *   rehash  a hash table with all nodes gets another size
 *   vector  all nodes are put into a new vector, one by one
 *   idle    nothing moves
 */
extern "C" {
#include "victim.h"
}
#include <map>
#include <pthread.h>
#include <string>
#include <unordered_map>
#include <vector>

struct Node {
    Node *next;
    uint64_t value[4];
};

constexpr size_t LISTS = 1024;
static std::string kind;
static size_t nodes = 200000;
static uint64_t state = 0x9e3779b97f4a7c15u;
static Node *lists[LISTS];
static std::vector<Node *> table;
static std::vector<uintptr_t> mixed;
static std::map<uint64_t, Node *> tree;
static std::unordered_map<uint64_t, Node *> hashed;

OPAQUE static Node *new_node() { return static_cast<Node *>(victim_check(calloc(1, sizeof(Node)), "node")); }

OPAQUE static void lose_blocks() {
    for (int i = 0; i < 100; i++) victim_check(malloc(opaque(777)), "lost");
}

/* Nothing of what was lost may stay on the stack by chance. */
OPAQUE static void wipe_stack() {
    volatile char bytes[16384];
    for (auto &byte : bytes) byte = 0;
}

static size_t any(size_t below) { return xorshift(&state) % below; }

static void push(Node *node) {
    Node *&head = lists[any(LISTS)];
    node->next = head;
    head = node;
}

static Node *pop() {
    for (;;) {
        Node *&head = lists[any(LISTS)];
        if (Node *node = head) {
            head = node->next;
            node->next = nullptr;
            return node;
        }
    }
}

static void move_tail() {
    Node *from = lists[any(LISTS)];
    Node *&to = lists[any(LISTS)];
    if (!from || from == to) return;
    for (size_t steps = any(8); steps && from->next; steps--) from = from->next;
    Node *tail = from->next;
    if (!tail) return;
    from->next = nullptr;
    Node *last = tail;
    while (last->next) last = last->next;
    last->next = to;
    to = tail;
}

static void step() {
    if (kind == "splice") return push(pop());
    if (kind == "hold") {
        Node *node = pop();
        for (int i = 0; i < 5000; i++) __asm__ volatile("" : "+r"(node));
        return push(node);
    }
    if (kind == "sleep") {
        Node *node = pop();
        usleep(2000);
        return push(node);
    }
    if (kind == "chains") return move_tail();
    if (kind == "sort") return std::swap(table[any(nodes)], table[any(nodes)]);
    if (kind == "xor") {
        volatile uintptr_t *one = &mixed[any(nodes)], *other = &mixed[any(nodes)];
        if (one == other) return;
        *one = *one ^ *other;
        *other = *other ^ *one;
        *one = *one ^ *other;
        return;
    }
    if (kind == "tree") {
        auto found = tree.lower_bound(xorshift(&state));
        if (found == tree.end()) return;
        auto node = tree.extract(found);
        node.key() = xorshift(&state);
        tree.insert(std::move(node));
        return;
    }
    if (kind == "churn") {
        Node *&slot = hashed[any(nodes)];
        Node *old = slot, *copy = new_node();
        *copy = *old;
        slot = copy;
        free(old);
        return;
    }
    if (kind == "rehash") return hashed.rehash(nodes * 2 + any(nodes * 4));
    if (kind == "vector") {
        std::vector<Node *> other;
        for (Node *node : table) other.push_back(node);
        table.swap(other);
        return;
    }
    usleep(1000);
}

static void *move_on(void *) {
    for (;;) step();
}

int main(int count, char **words) {
    kind = count > 1 ? words[1] : "idle";
    if (count > 2) nodes = strtoull(words[2], nullptr, 10);
    victim_ready();
    lose_blocks();
    wipe_stack();
    for (size_t i = 0; i < nodes; i++) {
        Node *node = new_node();
        node->value[0] = i;
        if (kind == "sort" || kind == "vector") table.push_back(node);
        else if (kind == "xor") mixed.push_back(reinterpret_cast<uintptr_t>(node));
        else if (kind == "tree") tree[xorshift(&state)] = node;
        else if (kind == "churn" || kind == "rehash") hashed[i] = node;
        else push(node);
    }
    pthread_t thread;
    if (pthread_create(&thread, nullptr, move_on, nullptr)) victim_fail("a thread");
    victim_done();
    return 0;
}
