#include "dialect.h"
#include "failure.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const struct dialect *dialect_find(const char *name)
{
    static const struct dialect *const all[] = {&dialect_imd, &dialect_line, &dialect_redis, &dialect_mqtt,
                                                &dialect_nats};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strcmp(all[i]->name, name) == 0)
            return all[i];
    errno = 0;
    fail("no dialect %s", name);
}

long other_never(int fd, const char *bytes, size_t len, uint64_t first_seq, uint64_t *lost_to)
{
    return -1;
}

void input_never(struct publisher *p)
{
    char bytes[256];
    size_t n = stream_read(&p->websocket.stream, bytes, sizeof bytes);

    errno = 0;
    if (n)
        fail("the publisher is told something: %.*s", (int)n, bytes);
}

struct frame frame_of_record(const struct record *r)
{
    struct frame f = {.bytes = malloc(r->len), .len = r->len, .counter_at = r->counter_at};

    if (!f.bytes)
        fail("no memory");
    memcpy(f.bytes, r->bytes, r->len);
    return f;
}
