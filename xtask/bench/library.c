// A library with a thousand functions, so that its symbol table and its code have a usual size. Compiled with
// -DNUMBER=n.
#include <string.h>

#define PASTE(a, b, c) a##b##_##c
#define NAME(a, b, c) PASTE(a, b, c)

#define ONE(n)                                                    \
    int NAME(library, NUMBER, n)(char *to, const char *from) {    \
        int sum = 0;                                              \
        for (int i = 0; from[i] != 0; i++) sum += from[i] * (n + 3); \
        memcpy(to, &sum, sizeof sum);                             \
        return sum;                                               \
    }
#define TEN(n) \
    ONE(n##0) ONE(n##1) ONE(n##2) ONE(n##3) ONE(n##4) ONE(n##5) ONE(n##6) ONE(n##7) ONE(n##8) ONE(n##9)
#define HUNDRED(n) \
    TEN(n##0) TEN(n##1) TEN(n##2) TEN(n##3) TEN(n##4) TEN(n##5) TEN(n##6) TEN(n##7) TEN(n##8) TEN(n##9)

// No number begins with a zero: that would be octal.
HUNDRED(1) HUNDRED(2) HUNDRED(3) HUNDRED(4) HUNDRED(5) HUNDRED(6) HUNDRED(7) HUNDRED(8) HUNDRED(9) HUNDRED(10)
