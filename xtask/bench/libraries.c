/* libraries FILE...: loads the libraries, then allocates and frees ten thousand times a second until it is told to end.
 */
#include <dlfcn.h>
#include <poll.h>
#include <time.h>
#include "victim.h"

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        if (dlopen(argv[i], RTLD_NOW) == NULL) victim_fail(dlerror());
    victim_ready();
    struct pollfd input = {STDIN_FILENO, POLLIN, 0};
    while (poll(&input, 1, 1) == 0)
        for (int i = 0; i < 10; i++) free(victim_check(malloc(opaque(100)), "malloc"));
    return 0;
}
