/* grow_by_clock KIND MIB_PER_SECOND [FDS_PER_SECOND]: grows at a known rate by the clock, however busy the machine is,
 * once it is told to go.
 *
 * Expected, t seconds after "go": MIB_PER_SECOND * t MiB more, of KIND
 *   anonymous  private memory, touched
 *   shared     shared memory, touched
 *   reserved   address space, never touched: no memory at all
 *   step       private memory as anonymous in 4 seconds, all at once after 3 seconds, and then nothing
 * and FDS_PER_SECOND * t more file descriptors. Checks the clock fifty times a second, and ends by itself after a
 * minute.
 */
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <time.h>
#include "victim.h"

#define MIB (1024.0 * 1024.0)

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void take(const char *kind, size_t bytes) {
    int shared = strcmp(kind, "shared") == 0, reserved = strcmp(kind, "reserved") == 0;
    int flags = MAP_ANONYMOUS | MAP_NORESERVE | (shared ? MAP_SHARED : MAP_PRIVATE);
    char *range = mmap(NULL, bytes, reserved ? PROT_NONE : PROT_READ | PROT_WRITE, flags, -1, 0);
    if (range == MAP_FAILED) victim_fail("mmap");
    if (!reserved) memset(sink(range), 1, bytes);
}

int main(int argc, char **argv) {
    const char *kind = argc > 1 ? argv[1] : "anonymous";
    double rate = argc > 2 ? atof(argv[2]) * MIB : MIB;
    double fd_rate = argc > 3 ? atof(argv[3]) : 0;
    int step = strcmp(kind, "step") == 0;
    size_t taken = 0, page = 4096;
    int fds = 0;
    alarm(60);
    victim_ready();
    double start = now();
    struct pollfd input = {STDIN_FILENO, POLLIN, 0};
    do {
        double passed = now() - start;
        double due = step ? (passed < 3 ? 0 : 4 * rate) : passed * rate;
        size_t wanted = (size_t)due / page * page;
        if (wanted > taken) take(step ? "anonymous" : kind, wanted - taken);
        if (wanted > taken) taken = wanted;
        for (; fds < (int)(passed * fd_rate); fds++)
            if (open("/dev/null", O_RDONLY) < 0) victim_fail("open");
    } while (poll(&input, 1, 20) == 0);
    victim_wait();
    return 0;
}
