/* linked BLOCKS LOST: BLOCKS blocks of 90 bytes, each of which but the first is pointed to by one that came before it,
 * at random, so that a global holds all of them through long chains; and LOST blocks of 777 bytes that nothing points
 * to.
 */
#include "victim.h"

struct node {
    struct node *links[2];
    char rest[74];
};

static struct node *volatile first;
static uint64_t state = 88172645463325252u;

OPAQUE static struct node *new_node(void) { return victim_check(calloc(1, opaque(sizeof(struct node))), "node"); }

OPAQUE static void lose(uint64_t blocks) {
    for (uint64_t i = 0; i < blocks; i++) victim_check(malloc(opaque(777)), "lost");
}

/* Goes down from the first node, at random, to a place that is free. */
OPAQUE static void add(void) {
    struct node *at = first;
    for (;;) {
        struct node **link = &at->links[xorshift(&state) & 1];
        if (!*link) {
            *link = new_node();
            return;
        }
        at = *link;
    }
}

int main(int argc, char **argv) {
    uint64_t blocks = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
    uint64_t lost = argc > 2 ? strtoull(argv[2], NULL, 10) : 100;
    victim_ready();
    lose(lost);
    first = new_node();
    for (uint64_t i = 1; i < blocks; i++) add();
    victim_done();
    return 0;
}
