#include "frame.h"

#include <libwebsockets.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"

struct frame *frame_new(enum frame_kind kind, const void *bytes, size_t len)
{
    struct frame *frame = memory_get(sizeof(*frame) + LWS_PRE + len);

    *frame = (struct frame){.refs = 1, .kind = kind, .len = len};
    if (bytes)
        memcpy(frame_payload(frame), bytes, len);
    return frame;
}

struct frame *frame_ref(struct frame *frame)
{
    frame->refs++;
    return frame;
}

struct frame *frame_unref(struct frame *frame)
{
    if (frame && --frame->refs == 0) {
        free(frame->ends);
        free(frame);
    }
    return NULL;
}

unsigned char *frame_payload(struct frame *frame)
{
    return frame->room + LWS_PRE;
}

void frame_split_evenly(struct frame *frame, size_t n)
{
    frame->ends = memory_get(n * sizeof(*frame->ends));
    frame->n_ends = n;
    for (size_t i = 0; i < n; i++)
        frame->ends[i] = frame->len / n * (i + 1);
    frame->ends[n - 1] = frame->len;
}

bool frame_split_at(struct frame *frame, const size_t *sizes, size_t n)
{
    size_t end = 0;

    frame->ends = memory_get((n + 1) * sizeof(*frame->ends));
    for (size_t i = 0; i < n; i++) {
        if (sizes[i] > frame->len - end)
            return false;
        end += sizes[i];
        frame->ends[frame->n_ends++] = end;
    }
    if (end < frame->len || n == 0)
        frame->ends[frame->n_ends++] = frame->len;
    return true;
}
