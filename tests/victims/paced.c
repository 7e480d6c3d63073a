/* paced PAIRS_PER_SECOND SECONDS: at "go" makes so many blocks of 16 to 271 bytes a second, evenly, from make(); every
 * fourth stays.
 *
 * Expected: what it says after "done": bytes and blocks that stay.
 */
#include <time.h>
#include "victim.h"

OPAQUE static void *make(size_t size) { return victim_check(malloc(size), "malloc"); }

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

int main(int argc, char **argv) {
    if (argc < 3) victim_fail("a rate and a time wanted");
    double rate = atof(argv[1]), seconds = atof(argv[2]);
    uint64_t state = 0x9e3779b97f4a7c15u, made = 0, bytes = 0, blocks = 0;
    victim_ready();
    double start = now();
    for (double time = 0, owed = 0; time < seconds; time = now() - start) {
        /* A millisecond's worth; after a pause it does not catch up: that would be a burst. */
        for (owed += rate / 1000; owed >= 1; owed--) {
            size_t size = 16 + (xorshift(&state) >> 32) % 256;
            void *block = make(size);
            if (made++ % 4 == 0) {
                bytes += size;
                blocks++;
            } else {
                free(block);
            }
        }
        double ahead = start + time + 0.001 - now();
        if (ahead > 0) usleep((useconds_t)(ahead * 1e6));
    }
    char line[96];
    snprintf(line, sizeof line, "done %llu %llu %llu", (unsigned long long)bytes, (unsigned long long)blocks, (unsigned long long)made);
    victim_done_with(line);
    return 0;
}
