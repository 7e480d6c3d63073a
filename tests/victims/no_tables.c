/* no_tables: built without unwind tables and without frame pointers, leaks from functions that keep other things in
 * rbp: a small number, zero, an address in the stack, an address in the heap.
 *
 * Expected: live 4000 bytes, 4 blocks: 1000 through each of with_number, with_zero, with_stack, with_heap.
 */
#include "victim.h"

/* Sets rbp to a value and calls leak(); the compiler keeps its own rbp, if any, around it. */
#define WITH(NAME)                                                                                                     \
    OPAQUE static void NAME(uintptr_t value) {                                                                         \
        __asm__ volatile("push %%rbp\n\tmov %0, %%rbp\n\tcall leak\n\tpop %%rbp"                                       \
                         :                                                                                             \
                         : "r"(value)                                                                                  \
                         : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "cc", "memory");               \
    }

__attribute__((used, noinline)) void leak(void) __asm__("leak");
void leak(void) { victim_check(malloc(opaque(1000)), "malloc"); }

WITH(with_number)
WITH(with_zero)
WITH(with_stack)
WITH(with_heap)

OPAQUE static void work(void *heap) {
    uintptr_t words[64] = {0};
    with_number(opaque(12345));
    with_zero(opaque(0));
    with_stack((uintptr_t)sink(&words[8]));
    with_heap((uintptr_t)sink(heap));
    sink(words);
}

int main(void) {
    void *heap = victim_check(calloc(100, 8), "calloc");
    victim_ready();
    work(heap);
    victim_done();
    return 0;
}
