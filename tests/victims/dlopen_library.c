/* A library for dlopen_leak, built twice: NAME is the function that leaks one block of SIZE bytes. */
#include "victim.h"

OPAQUE void *NAME(void) { return victim_check(malloc(opaque(SIZE)), "malloc"); }
