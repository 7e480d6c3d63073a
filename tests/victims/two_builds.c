/* Keeps blocks of 1000 bytes from several functions, then waits. With -DREGRESSION one of them keeps ten times as many, the
 * others some more or fewer, and all code is elsewhere.
 *
 * Expected: live 8 blocks from each of fill_a to fill_d, and from fill_session 4; with -DREGRESSION 9, 8, 7, 8, and 40.
 */
#include "victim.h"

#ifdef REGRESSION
#define MORE 1
#define SESSIONS 40
/* Moves what follows. */
OPAQUE static int padding(int value) {
    for (int round = 0; round < 100; round++)
        value = value * 31 + (int)opaque((size_t)round);
    return value;
}
#else
#define MORE 0
#define SESSIONS 4
#endif

OPAQUE static void fill(size_t blocks) {
    for (size_t block = 0; block < blocks; block++)
        victim_check(malloc(opaque(1000)), "malloc");
}

OPAQUE static void fill_a(void) { fill(opaque(8 + MORE)); }
OPAQUE static void fill_b(void) { fill(opaque(8)); }
OPAQUE static void fill_session(void) { fill(opaque(SESSIONS)); }
OPAQUE static void fill_c(void) { fill(opaque(8 - MORE)); }
OPAQUE static void fill_d(void) { fill(opaque(8)); }

int main(void) {
#ifdef REGRESSION
    if (padding(7) == 0)
        return 1;
#endif
    victim_ready();
    fill_a();
    fill_b();
    fill_session();
    fill_c();
    fill_d();
    victim_say("done");
    victim_wait();
    return 0;
}
