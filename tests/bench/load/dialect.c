#include "dialect.h"
#include "failure.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const struct dialect *dialect_find(const char *name)
{
    static const struct dialect *const all[] = {&dialect_imd, &dialect_line};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strcmp(all[i]->name, name) == 0)
            return all[i];
    errno = 0;
    fail("no dialect %s", name);
}

struct frame frame_of_record(const struct record *r)
{
    struct frame f = {.bytes = malloc(r->len), .len = r->len, .counter_at = r->counter_at};

    if (!f.bytes)
        fail("no memory");
    memcpy(f.bytes, r->bytes, r->len);
    return f;
}
