/*
 * Many lines go out in one call. Only a line with descriptors has a call of its own: what begins there is
 * that line, and nothing stands behind it, so that imd knows whose they are.
 */
#include "writer.h"

#include <errno.h>
#include <sys/socket.h>

#define CROWDED_MS \
    10 /* between attempts; nothing tells when another of this user's descriptors has arrived */

void writer_init(struct writer *w)
{
    *w = (struct writer){0};
    text_init(&w->text);
    w->end = &w->first;
}

static void descriptors_drop(struct writer *w)
{
    struct descriptors *d = w->first;
    w->first = d->next;
    if (!w->first)
        w->end = &w->first;
    descriptors_free(d);
}

void writer_deinit(struct writer *w)
{
    while (w->first)
        descriptors_drop(w);
    text_deinit(&w->text);
}

size_t writer_waiting(const struct writer *w)
{
    return text_length(&w->text) - w->written;
}

uint64_t writer_place(const struct writer *w, size_t length)
{
    return w->dropped + length;
}

bool writer_has_written(const struct writer *w, uint64_t place)
{
    return place <= writer_place(w, w->written);
}

void writer_attach(struct writer *w, size_t begin, struct descriptors *d)
{
    d->begin = writer_place(w, begin);
    d->end = writer_place(w, text_length(&w->text));
    d->next = NULL;
    *w->end = d;
    w->end = &d->next;
}

/* Up to where the next call may write. */
static ssize_t write_some(struct writer *w, int fd)
{
    const char *from = w->text.w.base + w->written;
    uint64_t place = writer_place(w, w->written);
    struct descriptors *d = w->first;
    if (!d)
        return send(fd, from, writer_waiting(w), MSG_NOSIGNAL);
    if (d->begin > place)
        return send(fd, from, (size_t)(d->begin - place), MSG_NOSIGNAL);
    ssize_t n = descriptors_send(d, fd, from, (size_t)(d->end - place));
    if (n > 0)
        descriptors_drop(w);
    return n;
}

/* Gives the room of written bytes back: all of it when nothing is left, else not before it is half of the
 * text, so that each byte is moved about once. */
static void writer_compact(struct writer *w)
{
    if (w->written == 0 || w->written < writer_waiting(w))
        return;
    text_drop(&w->text, w->written);
    w->dropped += w->written;
    w->written = 0;
    text_shrink(&w->text);
}

/* A socket that takes nothing now is no failure. */
static int write_failed(struct writer *w, int error)
{
    if (error == ETOOMANYREFS)
        w->crowded = true;
    else if (error == EPIPE || error == ECONNRESET)
        w->unwritable = true; /* the reader finds the end, behind what imd wrote before */
    else if (error != EAGAIN)
        return -error;
    return 0;
}

int writer_flush(struct writer *w, int fd)
{
    ssize_t n = 0;
    w->crowded = false;
    while (writer_waiting(w) > 0 && !w->unwritable) {
        n = write_some(w, fd);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        w->written += (size_t)n;
    }
    int error = n < 0 ? write_failed(w, errno) : 0;
    writer_compact(w);
    return error;
}

bool writer_wants_room(const struct writer *w)
{
    return writer_waiting(w) > 0 && !w->unwritable && !w->crowded;
}

int writer_timeout(const struct writer *w)
{
    return w->crowded ? CROWDED_MS : -1;
}
