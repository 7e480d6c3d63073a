// A server that keeps a record of each session and forgets to free it: 100 bytes, 500 times a second.
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void *volatile last;

__attribute__((noinline)) static void open_session(void) {
    char *session = malloc(100);
    memset(session, 1, 100);
    last = session;
}

__attribute__((noinline)) static void handle_request(void) {
    open_session();
    free(malloc(3000));
}

int main(void) {
    struct timespec pause = {0, 2000000};
    // It never runs longer than ten minutes, whatever becomes of who has started it.
    for (int request = 0; request < 300000; request++) {
        handle_request();
        nanosleep(&pause, 0);
    }
}
