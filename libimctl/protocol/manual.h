/*
 * Manual pages whose tables come from the code: a generator reads the page's source on stdin and writes it to
 * stdout, with each line `@NAME@` replaced by what its part writes. For the generators of the build only.
 */
#ifndef IMD_PROTOCOL_MANUAL_H
#define IMD_PROTOCOL_MANUAL_H

#include <stddef.h>
#include <stdio.h>
#include <string.h>

struct manual_part {
    const char *line; /* "@NAME@\n" */
    void (*write)(FILE *to);
    int used;
};

/* The exit status of the generator: 1 when a part is not used, or a line looks like one but is none. */
static inline int manual_fill(struct manual_part *parts, size_t count)
{
    char line[4096];
    int status = 0;

    while (fgets(line, sizeof(line), stdin)) {
        struct manual_part *p = parts;

        while (p < parts + count && strcmp(line, p->line) != 0)
            p++;
        if (p < parts + count) {
            p->write(stdout);
            p->used = 1;
        } else if (*line == '@') {
            fprintf(stderr, "no such part: %s", line);
            status = 1;
        } else {
            fputs(line, stdout);
        }
    }
    for (struct manual_part *p = parts; p < parts + count; p++)
        if (!p->used) {
            fprintf(stderr, "nowhere in the page: %s", p->line);
            status = 1;
        }
    return fflush(stdout) == 0 ? status : 1;
}

#endif
