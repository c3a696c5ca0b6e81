/* See filter.h. */
#include "filter.h"

#include <stdlib.h>
#include <string.h>

struct filter *filter_copy(const struct filter *f)
{
    struct filter *copy = malloc(f->size);

    if (copy)
        memcpy(copy, f, f->size);
    return copy;
}

void filter_free(struct filter *f)
{
    free(f);
}

static bool list_matches(const struct filter *f, const struct filter_list *l, const char *text, size_t len)
{
    for (uint32_t i = l->first; i < l->first + l->count; i++)
        if (f->values[i].len == len && memcmp(filter_text(f, i), text, len) == 0)
            return true;
    return false;
}

bool filter_match(const struct filter *f, const struct event_index *e, const char *line)
{
    if (f->conversations_given && (e->conversation < 0 || e->conversation >= CONVERSATION_TYPE_COUNT ||
                                   !(f->conversations >> e->conversation & 1)))
        return false;
    for (unsigned i = 0; i < EVENT_FIELD_COUNT; i++)
        if (f->fields[i].given && (!e->at[i] || !list_matches(f, &f->fields[i], line + e->at[i], e->len[i])))
            return false;
    return true;
}
