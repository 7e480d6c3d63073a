/* hoard FILE BYTES_PER_SECOND: at "go" takes blocks of 3000 bytes from hoard() and writes into them, evenly, until it is
 * killed. FILE, which has eight bytes, tells at any time how many bytes it holds.
 *
 * Expected: live what FILE says when it is killed, all of it from hoard().
 */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include "victim.h"

enum { SIZE = 3000 };

OPAQUE static void *hoard(void) {
    void *block = victim_check(malloc(opaque(SIZE)), "malloc");
    memset(block, 1, SIZE);
    return block;
}

int main(int argc, char **argv) {
    if (argc < 3) victim_fail("a file and a rate wanted");
    int file = open(argv[1], O_RDWR);
    if (file < 0) victim_fail("the file cannot be opened");
    volatile uint64_t *held = mmap(NULL, sizeof *held, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (held == MAP_FAILED) victim_fail("the file cannot be mapped");
    double rate = atof(argv[2]);
    victim_ready();
    for (double owed = 0;;) {
        for (owed += rate / 200; owed >= SIZE; owed -= SIZE) {
            hoard();
            *held += SIZE;
        }
        usleep(5000);
    }
}
