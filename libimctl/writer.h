/*
 * What goes to imd: lines that wait to be written, and the file descriptors that go with some of them. Places
 * in the stream are counted from the first byte of the connection.
 */
#ifndef IMCTL_WRITER_H
#define IMCTL_WRITER_H

#include "descriptors.h"
#include "text.h"

#include <stdbool.h>

struct writer {
    struct text text;                 /* lines, from the first byte that may not be written yet */
    size_t written;                   /* bytes of text that are */
    uint64_t dropped;                 /* place in the stream of text's first byte */
    struct descriptors *first, **end; /* in the order of their lines */
    bool unwritable;                  /* imd has stopped reading; what it wrote before may still be read */
    bool crowded;                     /* too many descriptors of this user are under way */
};

void writer_init(struct writer *w);
void writer_deinit(struct writer *w);

size_t writer_waiting(const struct writer *w); /* bytes */
bool writer_has_written(const struct writer *w, uint64_t place);

/* The place behind the text's first `length` bytes. */
uint64_t writer_place(const struct writer *w, size_t length);

/* The line from `begin` on, the last of the text, goes out with these; takes them over. */
void writer_attach(struct writer *w, size_t begin, struct descriptors *d);

/* Writes what the socket takes. 0, or -errno. */
int writer_flush(struct writer *w, int fd);

/* The poll(2) events to wait for, and the time after which it may be tried again whatever they say (-1:
 * none). */
bool writer_wants_room(const struct writer *w);
int writer_timeout(const struct writer *w);

#endif
