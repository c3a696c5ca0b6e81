/* See held.h. */
#include "held.h"

#include "json_writer.h"

#include <stdlib.h>
#include <string.h>

struct held *held_begin(struct held *spare, size_t inline_max)
{
    struct held *h = spare ? spare : malloc(sizeof *h);

    if (!h)
        return NULL;
    h->attach = (struct storage_attach){.bins = h->bins};
    h->inline_max = inline_max;
    h->bytes = NULL;
    h->is_answer = h->answered = h->told = h->abandoned = false;
    return h;
}

void held_free(struct held *h)
{
    if (!h)
        return;
    free(h->bytes);
    free(h);
}

void held_abandon(struct held *h)
{
    if (h && !h->answered)
        h->abandoned = true;
    else
        held_free(h);
}

/* What is written here will not be told. Of too many bins the rest stay inline. */
static bool note_bin(void *self, struct json_writer *w, const uint8_t *bytes, size_t len)
{
    struct held *h = self;

    if (h->attach.count < STORAGE_BINS_MAX)
        h->bins[h->attach.count++] = (struct storage_bin){.at = (size_t)(bytes - h->surveyed), .len = len};
    json_literal(w, "null");
    return true;
}

struct decode_options held_survey(struct held *h, const uint8_t *bytes, size_t len)
{
    h->surveyed = bytes;
    h->len = len;
    return (struct decode_options){.inline_max = h->inline_max, .attach = note_bin, .self = h};
}

static void attached(struct storage_request *r)
{
    struct held *h = (struct held *)r;

    h->answered = true;
    if (h->abandoned)
        held_free(h);
}

bool held_post(struct held *h, uint8_t *bytes, const struct storage *storage)
{
    h->bytes = bytes;
    h->attach.bytes = bytes;
    h->attach.request = (struct storage_request){.op = STORAGE_ATTACH, .done = attached};
    return storage->post(storage->self, &h->attach.request) == 0;
}

static bool write_file(void *self, struct json_writer *w, const uint8_t *bytes, size_t len)
{
    struct held *h = self;
    const struct storage_bin *b = h->next < h->attach.count ? &h->bins[h->next] : NULL;

    h->next++;
    if (!b || !b->stored)
        return false;
    json_literal(w, "{\"$file\":\"");
    json_string_inner(w, h->attach.folder, strlen(h->attach.folder));
    json_literal(w, "/");
    json_text(w, b->sha256);
    json_literal(w, "\",\"size\":");
    json_uint(w, len);
    json_literal(w, ",\"sha256\":");
    json_cstring(w, b->sha256);
    json_literal(w, "}");
    return true;
}

struct decode_options held_resolve(struct held *h)
{
    h->next = 0;
    return (struct decode_options){.inline_max = h->inline_max, .attach = write_file, .self = h};
}

size_t held_rest(const struct held *h)
{
    size_t rest = h->len;

    for (unsigned i = 0; i < h->attach.count; i++)
        rest -= h->bins[i].stored ? h->bins[i].len : 0;
    return rest;
}
