/* plugin early|late PATH NAME: opens a library before or after it is traced; at every step its function NAME leaks 10
 * blocks.
 *
 * Expected: 10 blocks for each step, all NAME <- call_plugin <- main. The loader keeps a few blocks of its own if late.
 */
#include <dlfcn.h>
#include "victim.h"

static void *(*leak)(void);

OPAQUE static void open_plugin(const char *path, const char *name) {
    void *library = dlopen(path, RTLD_NOW);
    if (library == NULL) victim_fail(dlerror());
    leak = (void *(*)(void))dlsym(library, name);
    if (leak == NULL) victim_fail(name);
}

OPAQUE static void call_plugin(void) {
    for (int i = 0; i < 10; i++) sink(leak());
}

int main(int argc, char **argv) {
    if (argc < 4) victim_fail("early or late, a library and a function wanted");
    if (strcmp(argv[1], "early") == 0) open_plugin(argv[2], argv[3]);
    victim_ready();
    if (leak == NULL) open_plugin(argv[2], argv[3]);
    call_plugin();
    victim_step("step");
    call_plugin();
    victim_done();
    return 0;
}
