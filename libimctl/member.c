#include "member.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool text_same(const struct text *a, const struct text *b)
{
    return text_length(a) == text_length(b) && memcmp(a->w.base, b->w.base, text_length(a)) == 0;
}

static void member_clear(struct member *m)
{
    text_truncate(&m->value, 0);
    if (m->fd >= 0)
        close(m->fd);
    m->fd = -1;
}

void member_free(struct member *m)
{
    member_clear(m);
    text_deinit(&m->key);
    text_deinit(&m->value);
    free(m);
}

void members_free(struct member **list)
{
    while (*list) {
        struct member *m = *list;
        *list = m->next;
        member_free(m);
    }
}

/* Takes the key over, also when it fails. */
static int member_append(struct member **end, struct text *key)
{
    struct member *m = calloc(1, sizeof(*m));
    if (!m) {
        text_deinit(key);
        return -ENOMEM;
    }
    m->key = *key;
    m->fd = -1;
    text_init(&m->value);
    *end = m;
    return 0;
}

int member_claim(struct member **list, const char *key, struct member **out)
{
    struct text name;
    text_init(&name);
    int error = text_add_string(&name, key);
    if (error < 0) {
        text_deinit(&name);
        return error;
    }
    while (*list && !text_same(&(*list)->key, &name))
        list = &(*list)->next;
    if (*list) {
        text_deinit(&name);
        member_clear(*list);
    } else {
        error = member_append(list, &name);
    }
    *out = *list;
    return error;
}

struct member **member_find(struct member **list, const char *key)
{
    size_t len = strlen(key);
    while (*list && (text_length(&(*list)->key) != len + 2 || memcmp((*list)->key.w.base + 1, key, len) != 0))
        list = &(*list)->next;
    return list;
}

/* Written as ours are, so that a setter finds it. The quotes lie around it. */
static int key_normalise(struct view key, struct text *out)
{
    char *name = malloc(key.len + 3);
    text_init(out);
    if (!name)
        return -ENOMEM;
    view_decode((struct view){key.at - 1, key.len + 2}, name);
    int error = text_add_string(out, name);
    if (error < 0)
        text_deinit(out);
    free(name);
    return error;
}

static int member_parse(struct member **end, struct view key, struct view value)
{
    struct text name;
    int error = key_normalise(key, &name);
    if (error == 0)
        error = member_append(end, &name);
    if (error < 0)
        return error;
    json_raw(&(*end)->value.w, value.at, value.len);
    return (*end)->value.w.failed ? -ENOMEM : 0;
}

int members_parse(struct member **list, struct view object)
{
    struct view key, value;
    int error = 0;
    while (error == 0 && view_next(&object, &key, &value)) {
        error = member_parse(list, key, value);
        if (error == 0)
            list = &(*list)->next;
    }
    return error;
}

size_t members_files(const struct member *list)
{
    size_t count = 0;
    for (; list; list = list->next)
        count += list->fd >= 0;
    return count;
}

static void value_write(const struct member *m, size_t *files, struct json_writer *w)
{
    if (m->fd < 0) {
        json_raw(w, m->value.w.base, text_length(&m->value));
        return;
    }
    json_literal(w, "{\"$fd\":");
    json_uint(w, (*files)++);
    json_literal(w, "}");
}

void members_write(const struct member *m, struct json_writer *w)
{
    size_t files = 0;
    for (const char *comma = ""; m; m = m->next, comma = ",") {
        json_text(w, comma);
        json_raw(w, m->key.w.base, text_length(&m->key));
        json_literal(w, ":");
        value_write(m, &files, w);
    }
}
