#include "document.h"

#include <stdlib.h>
#include <string.h>

/* One string: what of the text it was made from, and whether escapes were decoded. */
struct decoded {
    struct decoded *next;
    const char *source;
    bool raw;
    char text[];
};

void document_init(struct document *d, struct view root)
{
    *d = (struct document){.root = root};
}

void document_deinit(struct document *d)
{
    while (d->strings) {
        struct decoded *s = d->strings;
        d->strings = s->next;
        free(s);
    }
}

static const char *string_keep(struct document *d, struct view v, bool raw)
{
    for (struct decoded *s = d->strings; s; s = s->next)
        if (s->source == v.at && s->raw == raw)
            return s->text;

    struct decoded *s = malloc(sizeof(*s) + v.len + 1);
    if (!s)
        return NULL;
    s->next = d->strings;
    s->source = v.at;
    s->raw = raw;
    d->strings = s;
    if (raw) {
        memcpy(s->text, v.at, v.len);
        s->text[v.len] = '\0';
    } else {
        view_decode(v, s->text);
    }
    return s->text;
}

const char *document_decode(struct document *d, struct view string)
{
    return view_is_string(string) ? string_keep(d, string, false) : NULL;
}

const char *document_text(struct document *d, struct view value)
{
    return value.at ? string_keep(d, value, true) : NULL;
}

const char *document_string(struct document *d, const char *path)
{
    return document_decode(d, view_find(d->root, path));
}

const char *document_value(struct document *d, const char *path)
{
    return document_text(d, view_find(d->root, path));
}

bool document_int(const struct document *d, const char *path, int64_t *out)
{
    return view_int(view_find(d->root, path), out);
}
