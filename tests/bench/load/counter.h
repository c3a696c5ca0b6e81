/* The number of a message as it stands in its payload: 16 decimal digits. */
#ifndef LOAD_COUNTER_H
#define LOAD_COUNTER_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define COUNTER_DIGITS 16

struct counter {
    char text[COUNTER_DIGITS];
};

static inline void counter_set(struct counter *c, uint64_t n)
{
    for (int i = COUNTER_DIGITS - 1; i >= 0; i--, n /= 10)
        c->text[i] = (char)('0' + n % 10);
}

/* by: 1 to 9. Cheaper than counter_set: usually only the last digit moves. */
static inline void counter_add(struct counter *c, int by)
{
    int i = COUNTER_DIGITS - 1;

    c->text[i] = (char)(c->text[i] + by);
    while (c->text[i] > '9' && i > 0) {
        c->text[i] = (char)(c->text[i] - 10);
        c->text[--i]++;
    }
}

/* Returns the digits read, 0: there is none, or too many. */
static inline size_t digits_read(const char *text, size_t most, uint64_t *n)
{
    size_t i = 0;

    *n = 0;
    while (i < most && text[i] >= '0' && text[i] <= '9')
        *n = *n * 10 + (uint64_t)(text[i++] - '0');
    return i;
}

#endif
