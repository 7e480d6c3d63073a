/* 100 MiB that are first only asked for ("reserved") and then written to ("touched"). */
#include "victim.h"

int main(void) {
    size_t size = (size_t)100 << 20;
    victim_ready();
    char *block = victim_check(malloc(opaque(size)), "malloc");
    victim_step("reserved");
    memset(block, 1, size);
    victim_step("touched");
    free(block);
    victim_done();
    return 0;
}
