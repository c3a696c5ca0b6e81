/* Every string is a copy: the caller's may go while a connection still needs them. */
#include "setup.h"
#include "tls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int copy_text(const char **out, const char *text)
{
    *out = text ? strdup(text) : NULL;
    return text && !*out ? -ENOMEM : 0;
}

static int copy_headers(struct setup *s, const char *const *headers)
{
    size_t n = 0;

    s->options.headers = NULL;
    if (!headers)
        return 0;
    while (headers[n])
        n++;
    const char **copies = calloc(n + 1, sizeof(*copies));
    if (!copies)
        return -ENOMEM;
    s->options.headers = copies;
    for (size_t i = 0; i < n; i++)
        if (copy_text(&copies[i], headers[i]) < 0)
            return -ENOMEM;
    return 0;
}

static int copy_options(struct setup *s, const struct transport_options *o)
{
    struct transport_options *c = &s->options;
    int r = 0;

    *c = *o;
    r |= copy_text(&c->ca_file, o->ca_file);
    r |= copy_text(&c->cert_file, o->cert_file);
    r |= copy_text(&c->key_file, o->key_file);
    r |= copy_text(&c->header_file, o->header_file);
    r |= copy_text(&c->proxy_host, o->proxy_host);
    r |= copy_headers(s, o->headers);
    return r < 0 ? -ENOMEM : 0;
}

static void wipe(const char *text)
{
    if (text)
        explicit_bzero((char *)(uintptr_t)text, strlen(text));
    free((char *)(uintptr_t)text);
}

static void free_options(struct transport_options *o)
{
    for (const char *const *h = o->headers; h && *h; h++)
        wipe(*h);
    free((void *)(uintptr_t)o->headers);
    free((char *)(uintptr_t)o->ca_file);
    free((char *)(uintptr_t)o->cert_file);
    free((char *)(uintptr_t)o->key_file);
    free((char *)(uintptr_t)o->header_file);
    free((char *)(uintptr_t)o->proxy_host);
}

static int check(const struct transport_options *o)
{
    const char *why;

    if (!o->cert_file != !o->key_file)
        return -EINVAL;
    for (const char *const *h = o->headers; h && *h; h++)
        if (header_check(*h, strlen(*h), &why) < 0)
            return -EINVAL;
    return 0;
}

int setup_new(struct setup **out, const struct transport_options *o)
{
    int r = check(o);

    if (r < 0)
        return r;
    struct setup *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    r = copy_options(s, o);
    if (r == 0 && o->url.tls)
        r = tls_new(&s->tls, o->ca_file, o->url.host, o->url.literal);
    if (r < 0) {
        setup_free(s);
        return r;
    }
    *out = s;
    return 0;
}

void setup_free(struct setup *s)
{
    if (!s)
        return;
    tls_free(s->tls);
    headers_deinit(&s->headers);
    free_options(&s->options);
    free(s);
}

int setup_load_credentials(struct setup *s, char *detail, size_t size)
{
    const struct transport_options *o = &s->options;
    int r = 0;

    setup_wipe_credentials(s);
    if (s->tls && o->cert_file)
        r = tls_load_identity(s->tls, o->cert_file, o->key_file, detail, size);
    return r < 0 ? r : headers_read(&s->headers, o->headers, o->header_file, detail, size);
}

void setup_wipe_credentials(struct setup *s)
{
    headers_deinit(&s->headers);
}
