/* A heap in which the headers of some chunks have been overwritten, as a wild write does.
 *
 *   corrupted EVERY      overwrites the header behind every EVERY-th of 20,000 blocks of 100 bytes
 */
#include "victim.h"

int main(int count, char **words) {
    static char *held[20000];
    size_t every = count == 2 ? strtoul(words[1], NULL, 10) : 0;
    if (every == 0) victim_fail("corrupted EVERY");
    for (size_t i = 0; i < 20000; i++) held[i] = victim_check(malloc(opaque(100)), "malloc");
    for (size_t i = every; i < 20000; i += every) memset(held[i] - 8, 0x41, 8);
    victim_ready();
    victim_done();
    /* Nothing is freed: that would end the program. */
    _exit(0);
}
