/* hidden_then_freed: 50 blocks of 400 bytes (hide) of which only the complement of the address is kept, so that they
 * look lost; after the next line 20 of them are freed.
 */
#include "victim.h"

static uintptr_t kept[50];

OPAQUE static void hide(void) {
    for (size_t i = 0; i < 50; i++) kept[i] = ~(uintptr_t)victim_check(malloc(opaque(400)), "hidden");
}

OPAQUE static void wipe_stack(void) {
    volatile char bytes[16384];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = 0;
}

int main(void) {
    victim_ready();
    hide();
    wipe_stack();
    victim_step("hidden");
    for (size_t i = 0; i < 20; i++) free((void *)~kept[i]);
    wipe_stack();
    victim_done();
    return 0;
}
