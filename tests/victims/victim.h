/* The protocol that every victim speaks, without touching the heap.
 *
 *   victim: "ready PID"    harness: "go"
 *   victim works           victim: "done ..."
 *   harness: "exit" (or end of input), and the victim ends
 *
 * With VICTIM_FREE_RUN=1 in the environment nothing is printed and nothing is waited for:
 * that is how a victim runs as a traced command.
 */
#ifndef VICTIM_H
#define VICTIM_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Not inlined, not cloned, nothing assumed about it by its callers. */
#if defined(__clang__)
#define OPAQUE __attribute__((noinline))
#else
#define OPAQUE __attribute__((noipa))
#endif
#define UNUSED __attribute__((unused))

/* The optimizer must believe that the pointer is used here, and that memory changed. */
UNUSED static inline void *sink(void *pointer) {
    __asm__ volatile("" : "+r"(pointer) : : "memory");
    return pointer;
}

/* A number that the optimizer knows nothing about. */
UNUSED static inline size_t opaque(size_t number) {
    __asm__ volatile("" : "+r"(number));
    return number;
}

UNUSED static int victim_free_run(void) {
    const char *value = getenv("VICTIM_FREE_RUN");
    return value != NULL && value[0] == '1';
}

/* Prints one line with a single write. */
UNUSED static void victim_say(const char *line) {
    char text[256];
    int length = snprintf(text, sizeof text, "%s\n", line);
    if (victim_free_run()) return;
    if (write(STDOUT_FILENO, text, (size_t)length) != length) _exit(98);
}

/* Reads one line; returns 0 at the end of input, 1 for any line but "exit". */
UNUSED static int victim_wait(void) {
    char line[64];
    size_t length = 0;
    char byte;
    if (victim_free_run()) return 1;
    while (read(STDIN_FILENO, &byte, 1) == 1) {
        if (byte == '\n') {
            line[length] = 0;
            return strcmp(line, "exit") != 0;
        }
        if (length + 1 < sizeof line) line[length++] = byte;
    }
    return 0;
}

/* Says something and waits for the next line; ends the program when there is none. */
UNUSED static void victim_step(const char *line) {
    victim_say(line);
    if (!victim_wait()) _exit(97);
}

/* Where a ledger is preloaded (ledger_library.c), it counts between these two. */
#ifdef __cplusplus
extern "C" {
#endif
void ledger_start(void) __attribute__((weak));
void ledger_stop(void) __attribute__((weak));
#ifdef __cplusplus
}
#endif

UNUSED static void victim_ready(void) {
    char line[64];
    snprintf(line, sizeof line, "ready %d", (int)getpid());
    victim_step(line);
    if (ledger_start != NULL) ledger_start();
}

UNUSED static void victim_done_with(const char *line) {
    if (ledger_stop != NULL) ledger_stop();
    victim_say(line);
    if (!victim_free_run()) victim_wait();
}

UNUSED static void victim_done(void) {
    victim_done_with("done");
}

/* Ends the victim with a code that no test expects. */
UNUSED static void victim_fail(const char *what) {
    char text[256];
    int length = snprintf(text, sizeof text, "victim failed: %s\n", what);
    if (write(STDERR_FILENO, text, (size_t)length) < 0) _exit(95);
    _exit(96);
}

UNUSED static void *victim_check(void *pointer, const char *what) {
    if (pointer == NULL) victim_fail(what);
    return sink(pointer);
}

UNUSED static inline uint64_t xorshift(uint64_t *state) {
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

#endif
