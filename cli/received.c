#include "received.h"

#include <string.h>

#define MESSAGE "data.content.message"

/* How many bytes this base64 stands for. */
static int64_t base64_size(const char *text)
{
    size_t len = strlen(text);
    while (len > 0 && text[len - 1] == '=')
        len--;
    return (int64_t)(len / 4 * 3 + (len % 4 > 1 ? len % 4 - 1 : 0));
}

bool received_find(const struct imctl_event *e, struct received *r)
{
    *r = (struct received){.path = imctl_event_string(e, MESSAGE ".$file"),
                           .sha256 = imctl_event_string(e, MESSAGE ".sha256"),
                           .base64 = imctl_event_string(e, MESSAGE ".$bin"),
                           .name = imctl_event_string(e, "data.content.name")};
    if (r->path)
        return r->sha256 && imctl_event_int(e, MESSAGE ".size", &r->size) && r->size >= 0;
    if (r->base64)
        r->size = base64_size(r->base64);
    return r->base64 != NULL;
}
