/* stacks ROUNDS: leaks ROUNDS blocks of 64 bytes from each of 10,000 call stacks: four levels of ten functions, of
 * which each calls all ten of the next level.
 */
#include "victim.h"

typedef void (*function)(void);

#define CALL_ALL(next)                    \
    for (int i = 0; i < 10; i++) {        \
        (next)[i]();                      \
        __asm__ volatile("" ::: "memory"); \
    }
#define INNER(level, n, next) OPAQUE static void level##n(void) { CALL_ALL(next) }
#define LEAF(level, n, next) OPAQUE static void level##n(void) { victim_check(malloc(opaque(64)), "malloc"); }
#define LEVEL(kind, level, next)                                                                            \
    kind(level, 0, next) kind(level, 1, next) kind(level, 2, next) kind(level, 3, next) kind(level, 4, next) \
    kind(level, 5, next) kind(level, 6, next) kind(level, 7, next) kind(level, 8, next) kind(level, 9, next) \
    static const function level##_all[10] = {level##0, level##1, level##2, level##3, level##4,              \
                                             level##5, level##6, level##7, level##8, level##9};

LEVEL(LEAF, fourth, none)
LEVEL(INNER, third, fourth_all)
LEVEL(INNER, second, third_all)
LEVEL(INNER, first, second_all)

int main(int argc, char **argv) {
    int rounds = argc > 1 ? atoi(argv[1]) : 100;
    victim_ready();
    for (int round = 0; round < rounds; round++) CALL_ALL(first_all)
    victim_done();
    return 0;
}
