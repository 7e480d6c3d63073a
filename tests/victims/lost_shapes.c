/* lost_shapes SHAPE: what is lost, and what is not, in the shapes that valgrind's own tests have.
 *
 *   cases  all ways to hold a block: by its start, its inside, another block that is lost, held, or held from inside
 *   tree   a lost tree of seven nodes, and one that a global holds
 *   cycle  lost circles of two, of three with a tail, one that a lost block points into, and one that a global holds
 *
 * Blocks of what is lost and of what only that holds are of 16 bytes and more; valgrind itself says how many of each.
 */
#include "victim.h"

struct node {
    struct node *left, *right;
    char text[24];
};

static struct node *volatile held;
static char *volatile inside;

OPAQUE static struct node *node(struct node *left, struct node *right) {
    struct node *own = victim_check(calloc(1, sizeof *own), "node");
    own->left = left;
    own->right = right;
    return own;
}

OPAQUE static void cases(void) {
    /* Held by their starts, one through the other; and by its inside. */
    held = node(node(NULL, NULL), NULL);
    inside = (char *)node(NULL, NULL) + 8;
    /* Lost alone, and one through the other. */
    sink(node(NULL, NULL));
    sink(node(node(NULL, NULL), NULL));
    /* A lost block that points into another one. */
    struct node *outer = node(NULL, NULL);
    outer->left = (struct node *)((char *)node(NULL, NULL) + 8);
    sink(outer);
}

OPAQUE static struct node *tree(void) {
    return node(node(node(NULL, NULL), node(NULL, NULL)), node(node(NULL, NULL), node(NULL, NULL)));
}

OPAQUE static void trees(void) {
    sink(tree());
    held = tree();
}

OPAQUE static struct node *circle(int length) {
    struct node *first = node(NULL, NULL), *last = first;
    for (int i = 1; i < length; i++) last = last->left = node(NULL, NULL);
    last->left = first;
    return first;
}

OPAQUE static void cycles(void) {
    sink(circle(2));
    circle(3)->right = node(NULL, NULL);
    sink(node(circle(4), NULL));
    held = circle(3);
}

OPAQUE static void wipe_stack(void) {
    volatile char bytes[16384];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = 0;
}

int main(int count, char **words) {
    const char *shape = count > 1 ? words[1] : "cases";
    victim_ready();
    if (!strcmp(shape, "tree")) trees();
    else if (!strcmp(shape, "cycle")) cycles();
    else cases();
    wipe_stack();
    victim_done();
    return 0;
}
