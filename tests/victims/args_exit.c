/* args_exit "two words" "" --json: leaks 123 bytes from leak_args and exits with 7 if it was given exactly these
 * arguments, else with 99. It does not speak the protocol.
 *
 * Expected: live 123 bytes in 1 block from leak_args; exit code 7.
 */
#include "victim.h"

OPAQUE static void leak_args(void) { victim_check(malloc(opaque(123)), "malloc"); }

int main(int argc, char **argv) {
    leak_args();
    int right = argc == 4 && strcmp(argv[1], "two words") == 0 && argv[2][0] == 0 && strcmp(argv[3], "--json") == 0;
    return right ? 7 : 99;
}
