/* dlopen_allocator LIBRARY MALLOC FREE: opens an allocator after the attach, says "loaded", waits, and calls it by
 * dlsym.
 *
 * 100 blocks of 700 bytes are made, 40 freed. Expected from use(): live 60 * 700 = 42000 bytes, 60 blocks.
 * The loader keeps a few blocks of its own.
 */
#include <dlfcn.h>
#include "victim.h"

OPAQUE static void use(void *(*allocate)(size_t), void (*release)(void *)) {
    void *blocks[100];
    for (int i = 0; i < 100; i++) blocks[i] = victim_check(allocate(opaque(700)), "allocate");
    for (int i = 0; i < 40; i++) release(sink(blocks[i]));
}

int main(int argc, char **argv) {
    if (argc < 4) victim_fail("a library and two names wanted");
    victim_ready();
    void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) victim_fail(dlerror());
    void *(*allocate)(size_t) = (void *(*)(size_t))dlsym(library, argv[2]);
    void (*release)(void *) = (void (*)(void *))dlsym(library, argv[3]);
    if (allocate == NULL || release == NULL) victim_fail("no such function");
    victim_step("loaded");
    use(allocate, release);
    victim_done();
    return 0;
}
