/*
 * See frame_reader.h. A frame of up to WHOLE_MAX waits in the buffer until it is there whole; the rest of it
 * is then moved at most once. The payload of a longer one, or of one of several fragments, goes to the
 * assembly.
 */
#include "frame_reader.h"

#include "frames.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WHOLE_MAX (FRAME_READER_BUFFER / 2)
#define DIRECT_MAX (256u << 10) /* of one read */

void frame_reader_deinit(struct frame_reader *r)
{
    free(r->buffer);
    assembly_deinit(&r->assembly);
    *r = (struct frame_reader){.max = r->max};
}

static size_t pending(const struct frame_reader *r)
{
    return r->filled - r->start;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static int direct_room(struct frame_reader *r, uint8_t **at, size_t *n)
{
    *n = smaller(r->left, DIRECT_MAX);
    *at = assembly_room(&r->assembly, *n);
    r->direct = *at != NULL;
    return *at ? 0 : -ENOMEM;
}

int frame_reader_room(struct frame_reader *r, uint8_t **at, size_t *n)
{
    r->direct = false;
    if (r->in_frame && r->opcode == FRAME_BINARY && r->left > WHOLE_MAX && !pending(r))
        return direct_room(r, at, n);
    if (!r->buffer && !(r->buffer = malloc(FRAME_READER_BUFFER)))
        return -ENOMEM;
    if (r->start && pending(r))
        memmove(r->buffer, r->buffer + r->start, pending(r));
    r->filled -= r->start;
    r->start = 0;
    *at = r->buffer + r->filled;
    *n = FRAME_READER_BUFFER - r->filled;
    return 0;
}

void frame_reader_filled(struct frame_reader *r, size_t n)
{
    if (r->direct) {
        assembly_filled(&r->assembly, n);
        r->left -= n;
        r->direct = false;
    } else {
        r->filled += n;
    }
}

void frame_reader_skip(struct frame_reader *r, size_t n)
{
    r->start += n;
}

static enum incoming_kind ends(struct frame_reader *r, enum incoming_kind kind)
{
    return r->end = kind;
}

/* An empty one, of fragments that were, needs no assembly. */
static enum incoming_kind whole_message(struct frame_reader *r, struct incoming *in)
{
    bool text = r->opcode == FRAME_TEXT;

    r->given = r->assembly.len > 0;
    *in = r->given ? (struct incoming){r->assembly.bytes, r->assembly.len}
                   : (struct incoming){text ? NULL : r->buffer, r->text_len};
    r->opcode = 0;
    r->text_len = 0;
    return text ? INCOMING_TEXT : INCOMING_MESSAGE;
}

/* What is there of the payload of the frame under way. INCOMING_NONE: its message is not whole yet. */
static enum incoming_kind use_payload(struct frame_reader *r, struct incoming *in)
{
    size_t n = smaller(r->left, pending(r));
    uint8_t *room;

    if (r->opcode == FRAME_TEXT) {
        r->text_len += n;
    } else if (n) {
        room = assembly_room(&r->assembly, n);
        if (!room)
            return ends(r, INCOMING_NO_MEMORY);
        memcpy(room, r->buffer + r->start, n);
        assembly_filled(&r->assembly, n);
    }
    r->start += n;
    r->left -= n;
    if (r->left)
        return INCOMING_NONE;
    r->in_frame = false;
    return r->final ? whole_message(r, in) : INCOMING_NONE;
}

static enum incoming_kind control_kind(uint8_t opcode)
{
    return opcode == FRAME_PING ? INCOMING_PING : opcode == FRAME_PONG ? INCOMING_PONG : INCOMING_CLOSE;
}

/* A close frame has no payload, or a code and a text. */
static enum incoming_kind take_control(struct frame_reader *r, const struct frame_header *h,
                                       struct incoming *in)
{
    enum incoming_kind kind = control_kind(h->opcode);

    if (kind == INCOMING_CLOSE && h->len == 1)
        return ends(r, INCOMING_BROKEN);
    if (pending(r) < h->size + h->len)
        return INCOMING_NONE;
    *in = (struct incoming){r->buffer + r->start + h->size, (size_t)h->len};
    r->start += h->size + (size_t)h->len;
    return kind;
}

static bool follows(const struct frame_reader *r, const struct frame_header *h)
{
    return (h->opcode == FRAME_CONTINUATION) == (r->opcode != 0);
}

/* A message in one frame, of which all is there: nothing is copied. */
static bool is_whole(const struct frame_reader *r, const struct frame_header *h)
{
    return h->opcode == FRAME_BINARY && h->final && h->len <= pending(r) - h->size;
}

static bool may_wait(const struct frame_header *h)
{
    return h->opcode == FRAME_BINARY && h->final && h->size + h->len <= WHOLE_MAX;
}

static enum incoming_kind take_data(struct frame_reader *r, const struct frame_header *h, struct incoming *in)
{
    if (!follows(r, h))
        return ends(r, INCOMING_BROKEN);
    if (h->len > r->max - r->assembly.len - r->text_len)
        return ends(r, INCOMING_TOO_LARGE);
    if (is_whole(r, h)) {
        *in = (struct incoming){r->buffer + r->start + h->size, (size_t)h->len};
        r->start += h->size + (size_t)h->len;
        return INCOMING_MESSAGE;
    }
    if (may_wait(h))
        return INCOMING_NONE;
    r->start += h->size;
    r->opcode = r->opcode ? r->opcode : h->opcode;
    r->final = h->final;
    r->left = (size_t)h->len;
    r->in_frame = true;
    return use_payload(r, in);
}

static enum incoming_kind take_frame(struct frame_reader *r, struct incoming *in)
{
    struct frame_header h;
    int known = r->buffer ? frame_read_header(&h, r->buffer + r->start, pending(r)) : 0;

    if (known < 0)
        return ends(r, INCOMING_BROKEN);
    if (!known)
        return INCOMING_NONE;
    return frame_is_control(&h) ? take_control(r, &h, in) : take_data(r, &h, in);
}

enum incoming_kind frame_reader_next(struct frame_reader *r, struct incoming *in)
{
    enum incoming_kind kind = r->end;
    size_t before;

    if (r->given)
        assembly_release(&r->assembly);
    r->given = false;
    while (kind == INCOMING_NONE) {
        before = r->start;
        kind = r->in_frame ? use_payload(r, in) : take_frame(r, in);
        if (r->start == before)
            break;
    }
    return kind;
}

uint8_t *frame_reader_take(struct frame_reader *r, const struct incoming *message)
{
    uint8_t *taken;

    if (r->given) {
        r->given = false;
        return assembly_take(&r->assembly);
    }
    taken = malloc(message->len ? message->len : 1);
    if (taken)
        memcpy(taken, message->bytes, message->len);
    return taken;
}
