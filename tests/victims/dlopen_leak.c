/* dlopen_leak FIRST SECOND: opens the first library, calls its leak_first, closes it, then the same with the second and
 * leak_second (which usually lands at the same addresses). Says "first" after the first leak, and waits.
 *
 * Expected: 11000 bytes in 10 blocks from leak_first, 2600 bytes in 20 blocks from leak_second; each with its own
 * name. The loader keeps a few blocks of its own.
 */
#include <dlfcn.h>
#include "victim.h"

OPAQUE static void use(const char *path, const char *name, int count, const char *step) {
    void *library = dlopen(path, RTLD_NOW);
    if (library == NULL) victim_fail(dlerror());
    void *(*leak)(void) = (void *(*)(void))dlsym(library, name);
    if (leak == NULL) victim_fail(name);
    for (int i = 0; i < count; i++) leak();
    if (step != NULL) victim_step(step);
    dlclose(library);
}

int main(int argc, char **argv) {
    if (argc < 3) victim_fail("two libraries wanted");
    victim_ready();
    use(argv[1], "leak_first", 10, "first");
    use(argv[2], "leak_second", 20, NULL);
    victim_done();
    return 0;
}
