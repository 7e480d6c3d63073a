/* A library with a large unwind table: 4,096 functions that move the stack pointer, and NAME, which leaks one block of
 * SIZE bytes. */
#include "victim.h"

#define ONE(n) \
    OPAQUE long wide_##n(long value) { \
        char room[64]; \
        sink(room); \
        return value + wide_next(value) + sizeof room; \
    }
#define EIGHT(n) ONE(n##0) ONE(n##1) ONE(n##2) ONE(n##3) ONE(n##4) ONE(n##5) ONE(n##6) ONE(n##7)
#define SIXTY_FOUR(n) \
    EIGHT(n##0) EIGHT(n##1) EIGHT(n##2) EIGHT(n##3) EIGHT(n##4) EIGHT(n##5) EIGHT(n##6) EIGHT(n##7)
#define MANY(n) \
    SIXTY_FOUR(n##0) SIXTY_FOUR(n##1) SIXTY_FOUR(n##2) SIXTY_FOUR(n##3) \
    SIXTY_FOUR(n##4) SIXTY_FOUR(n##5) SIXTY_FOUR(n##6) SIXTY_FOUR(n##7)

OPAQUE long wide_next(long value) { return opaque(value) + 1; }

MANY(0) MANY(1) MANY(2) MANY(3) MANY(4) MANY(5) MANY(6) MANY(7)

OPAQUE void *NAME(void) { return victim_check(malloc(opaque(SIZE)), "malloc"); }
