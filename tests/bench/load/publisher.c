#include "publisher.h"
#include "failure.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK (64u << 10)

void publisher_prepare(struct publisher *p, struct frame frame, bool alternate)
{
    p->frame = frame;
    p->alternate = alternate;
    p->per_chunk = frame.len < CHUNK ? CHUNK / frame.len : 1;
    p->chunk = malloc(p->per_chunk * frame.len);
    if (!p->chunk)
        fail("no memory");
    for (size_t i = 0; i < p->per_chunk; i++)
        memcpy(p->chunk + i * frame.len, frame.bytes, frame.len);
    counter_set(&p->counter, 0);
}

void publisher_deinit(struct publisher *p)
{
    websocket_deinit(&p->websocket);
    free(p->chunk);
    free(p->frame.bytes);
    *p = (struct publisher){.websocket.stream.fd = -1};
}

void publisher_fill(struct publisher *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char *frame = p->chunk + i * p->frame.len;

        memcpy(frame + p->frame.counter_at, p->counter.text, COUNTER_DIGITS);
        if (p->alternate)
            memcpy(frame + p->frame.type_at, (p->written + i) & 1 ? "Img" : "Txt", 3);
        counter_add(&p->counter, 1);
    }
    p->written += n;
    stream_body(&p->websocket.stream, p->chunk, n * p->frame.len);
}
