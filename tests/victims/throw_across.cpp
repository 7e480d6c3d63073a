// Exceptions cross frames that hold memory, 2000 times; the unwinder must work as when untraced.
//
// Each round: middle() owns a vector and a raw block freed in a handler that rethrows; leaf() throws, and
// in every second round throws while a second exception is being handled.
// Expected: live 4096 bytes in 1 block from keep(); exit code 42; prints "done 2000".
#include <stdexcept>
#include <string>
#include <vector>
#include "victim.h"

OPAQUE static void keep() { victim_check(malloc(opaque(4096)), "malloc"); }

struct Block {
    void *bytes;
    Block() : bytes(sink(malloc(opaque(333)))) {}
    ~Block() { free(bytes); }
};

OPAQUE static void leaf(int round) {
    Block held;
    std::string message(100 + opaque(round % 50), 'm');
    sink(&message[0]);
    if (round % 2 == 0) throw std::runtime_error(message);
    try {
        throw std::logic_error(message);
    } catch (const std::exception &) {
        throw std::runtime_error(message);
    }
}

OPAQUE static void middle(int round) {
    std::vector<char> held(opaque(5000));
    sink(held.data());
    void *raw = sink(malloc(opaque(77)));
    try {
        leaf(round);
    } catch (...) {
        free(raw);
        throw;
    }
}

OPAQUE static int attempt(int round) {
    try {
        middle(round);
    } catch (const std::runtime_error &error) {
        return strlen(error.what()) == 100 + (size_t)(round % 50);
    } catch (...) {
        victim_fail("the wrong exception came");
    }
    return 0;
}

int main() {
    // The unwinder sets itself up at the first throw: before the trace.
    attempt(0);
    victim_ready();
    keep();
    int caught = 0;
    for (int round = 0; round < 2000; round++) caught += attempt(round);
    char line[64];
    snprintf(line, sizeof line, "done %d", caught);
    victim_done_with(line);
    return caught == 2000 ? 42 : 1;
}
