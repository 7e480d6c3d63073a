/* swap_plugins NAME PATH...: opens each library in turn, has its function NAME leak 10 blocks, waits, has it leak 10
 * more, and closes it. Says "opened" before it waits and "closed" after each library, and waits there too.
 *
 * Expected: 20 blocks for each library, all NAME <- call_plugin <- main. The loader keeps a few blocks of its own.
 */
#include <dlfcn.h>
#include "victim.h"

OPAQUE static void call_plugin(void *(*leak)(void)) {
    for (int i = 0; i < 10; i++) sink(leak());
}

int main(int argc, char **argv) {
    if (argc < 3) victim_fail("a function and libraries wanted");
    victim_ready();
    for (int i = 2; i < argc; i++) {
        void *library = dlopen(argv[i], RTLD_NOW);
        if (library == NULL) victim_fail(dlerror());
        void *(*leak)(void) = (void *(*)(void))dlsym(library, argv[1]);
        if (leak == NULL) victim_fail(argv[1]);
        call_plugin(leak);
        victim_step("opened");
        call_plugin(leak);
        dlclose(library);
        victim_step("closed");
    }
    victim_done();
    return 0;
}
