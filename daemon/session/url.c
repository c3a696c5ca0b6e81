/*
 * A strict parser: what it lets through can stand in a request line, a Host header and a certificate check as
 * it is. The grammar is RFC 3986's for the part that websockets use; where the RFC allows what nobody means
 * (user info, empty ports, numbers that only look like an address) it is refused with a sentence.
 */
#include "url.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define LABEL_MAX 63

struct authority {
    const char *at, *end;
};

static int refuse(const char **why, const char *sentence)
{
    *why = sentence;
    return -EINVAL;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alphanumeric(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_printable_ascii(const char *text)
{
    for (; *text; text++)
        if (*text <= ' ' || *text >= 0x7f)
            return false;
    return true;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* 1 … 65535, no sign, no other characters; 0: not a port */
static uint16_t parse_port(const char *at, const char *end)
{
    unsigned long port = 0;

    if (at == end || end - at > 5)
        return 0;
    for (; at < end; at++) {
        if (!is_digit(*at))
            return 0;
        port = port * 10 + (unsigned long)(*at - '0');
    }
    return port <= UINT16_MAX ? (uint16_t)port : 0;
}

static int parse_ipv6(const char *at, const char *end, char host[URL_HOST_MAX + 1], const char **why)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr address;
    size_t len = (size_t)(end - at);

    if (len >= sizeof(text))
        return refuse(why, "not an IPv6 address");
    memcpy(text, at, len);
    text[len] = '\0';
    if (inet_pton(AF_INET6, text, &address) != 1)
        return refuse(why, "not an IPv6 address");
    inet_ntop(AF_INET6, &address, host, URL_HOST_MAX + 1);
    return 0;
}

static bool label_is_valid(const char *at, size_t len)
{
    if (len == 0 || len > LABEL_MAX || at[0] == '-' || at[len - 1] == '-')
        return false;
    for (size_t i = 0; i < len; i++)
        if (!is_alphanumeric(at[i]) && at[i] != '-' && at[i] != '_')
            return false;
    return true;
}

/* getaddrinfo takes 127.1, 0x7f.0.0.1 and the like for addresses; a certificate check takes them for names.
 */
static bool ends_in_number(const char *host)
{
    const char *dot = strrchr(host, '.');
    const char *last = dot ? dot + 1 : host;

    if (strncmp(last, "0x", 2) == 0)
        return true;
    return last[strspn(last, "0123456789")] == '\0';
}

static int check_name(const char *host, bool *literal, const char **why)
{
    struct in_addr address;

    *literal = inet_pton(AF_INET, host, &address) == 1;
    if (*literal)
        return 0;
    for (const char *label = host;;) {
        size_t len = strcspn(label, ".");
        if (!label_is_valid(label, len))
            return refuse(why, "not a host name");
        if (label[len] == '\0')
            break;
        label += len + 1;
    }
    return ends_in_number(host) ? refuse(why, "neither a host name nor an IPv4 address") : 0;
}

static int parse_name(const char *at, const char *end, char host[URL_HOST_MAX + 1], bool *literal,
                      const char **why)
{
    size_t len = (size_t)(end - at);

    if (len == 0)
        return refuse(why, "the host is missing");
    if (len > URL_HOST_MAX)
        return refuse(why, "the host name is too long");
    for (size_t i = 0; i < len; i++)
        host[i] = lower(at[i]);
    host[len] = '\0';
    return check_name(host, literal, why);
}

/* HOST[:PORT] or [v6][:PORT]; *port keeps its value when there is none. */
static int parse_authority(struct authority a, char host[URL_HOST_MAX + 1], bool *literal, uint16_t *port,
                           const char **why)
{
    const char *host_end;
    int r;

    if (memchr(a.at, '@', (size_t)(a.end - a.at)))
        return refuse(why, "user and password do not belong into the URL");
    if (a.at < a.end && *a.at == '[') {
        const char *bracket = memchr(a.at, ']', (size_t)(a.end - a.at));
        if (!bracket)
            return refuse(why, "a ] is missing");
        host_end = bracket + 1;
        *literal = true;
        r = parse_ipv6(a.at + 1, bracket, host, why);
    } else {
        const char *colon = memchr(a.at, ':', (size_t)(a.end - a.at));
        host_end = colon ? colon : a.end;
        r = parse_name(a.at, host_end, host, literal, why);
    }
    if (r < 0 || host_end == a.end)
        return r;
    *port = *host_end == ':' ? parse_port(host_end + 1, a.end) : 0;
    return *port == 0 ? refuse(why, "not a port number (1 to 65535)") : 0;
}

static int parse_path(const char *text, char path[URL_PATH_MAX + 1], const char **why)
{
    size_t slash = *text == '/' ? 0 : 1;
    size_t len = strlen(text);

    if (strchr(text, '#'))
        return refuse(why, "a fragment (#) has no meaning here");
    if (slash + len > URL_PATH_MAX)
        return refuse(why, "path and query are too long");
    path[0] = '/';
    memcpy(path + slash, text, len + 1);
    return 0;
}

static const char *after_prefix(const char *text, const char *prefix)
{
    size_t len = strlen(prefix);

    return strncasecmp(text, prefix, len) == 0 ? text + len : NULL;
}

int url_parse(struct url *u, const char *text, const char **why)
{
    const char *rest = after_prefix(text, "wss://");

    *u = (struct url){.tls = rest != NULL};
    if (!rest)
        rest = after_prefix(text, "ws://");
    if (!rest)
        return refuse(why, "the URL must begin with ws:// or wss://");
    if (!is_printable_ascii(text))
        return refuse(why, "spaces, control characters and non-ASCII characters must be percent-encoded");
    struct authority a = {rest, rest + strcspn(rest, "/?#")};
    u->port = u->tls ? 443 : 80;
    int r = parse_authority(a, u->host, &u->literal, &u->port, why);
    if (r < 0)
        return r;
    return parse_path(a.end, u->path, why);
}

void url_authority(const struct url *u, char out[URL_AUTHORITY_MAX])
{
    bool v6 = strchr(u->host, ':') != NULL;
    int n = snprintf(out, URL_AUTHORITY_MAX, v6 ? "[%s]" : "%s", u->host);

    if (u->port != (u->tls ? 443 : 80))
        snprintf(out + n, URL_AUTHORITY_MAX - (size_t)n, ":%u", u->port);
}

/* ---- blanking ---- */

struct cut { /* a text of limited size that is always terminated */
    char *out;
    size_t size, len;
};

static void cut_add(struct cut *c, const char *text, size_t len)
{
    if (c->size == 0)
        return;
    if (len > c->size - 1 - c->len)
        len = c->size - 1 - c->len;
    memcpy(c->out + c->len, text, len);
    c->len += len;
    c->out[c->len] = '\0';
}

static void blank_query(struct cut *c, const char *query)
{
    while (*query == '?' || *query == '&') {
        cut_add(c, query++, 1);
        size_t part = strcspn(query, "&#");
        const char *equals = memchr(query, '=', part);
        if (equals)
            cut_add(c, query, (size_t)(equals - query) + 1);
        if (part > 0)
            cut_add(c, "***", 3);
        query += part;
    }
    if (*query == '#')
        cut_add(c, "#***", 4);
}

void url_blank(const char *text, char *out, size_t size)
{
    struct cut c = {out, size, 0};
    const char *scheme = strstr(text, "://");
    const char *rest = scheme ? scheme + 3 : text;
    const char *path = rest + strcspn(rest, "/?#");
    const char *query = path + strcspn(path, "?#");
    const char *at = memrchr(rest, '@', (size_t)(path - rest));

    cut_add(&c, text, (size_t)(rest - text));
    if (at) {
        cut_add(&c, "***", 3);
        rest = at;
    }
    cut_add(&c, rest, (size_t)(query - rest));
    blank_query(&c, query);
}

/* ---- proxy ---- */

int url_parse_proxy(const char *text, char host[URL_HOST_MAX + 1], uint16_t *port, const char **why)
{
    const char *rest = after_prefix(text, "http://");
    bool literal;

    if (!rest)
        rest = text;
    if (!is_printable_ascii(rest))
        return refuse(why, "spaces, control characters and non-ASCII characters have no place here");
    struct authority a = {rest, rest + strcspn(rest, "/?#")};
    if (*a.end != '\0' && strcmp(a.end, "/") != 0)
        return refuse(why, "a proxy has no path");
    *port = 0;
    int r = parse_authority(a, host, &literal, port, why);
    if (r < 0)
        return r;
    return *port == 0 ? refuse(why, "the proxy's port is missing") : 0;
}
