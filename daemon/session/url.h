/* The server's URL, parsed and checked. Pure. */
#ifndef IMD_URL_H
#define IMD_URL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define URL_HOST_MAX 253  /* of a DNS name */
#define URL_PATH_MAX 1900 /* path and query: the request line must stay below 2048 */

struct url {
    bool tls;                    /* wss */
    bool literal;                /* the host is an IPv4 or IPv6 address */
    uint16_t port;               /* default 80, 443 */
    char host[URL_HOST_MAX + 1]; /* lower case, an IPv6 literal without its brackets */
    char path[URL_PATH_MAX + 1]; /* path and query, at least "/" */
};

/*
 * ws://HOST[:PORT][/PATH][?QUERY] or wss://…; no user info, no fragment, no control character or space
 * anywhere. 0, or -EINVAL with *why (static) saying what is wrong.
 */
int url_parse(struct url *u, const char *text, const char **why);

/* `host` or `[v6]`, with `:port` unless it is the scheme's default: for the Host header and for people. */
#define URL_AUTHORITY_MAX (URL_HOST_MAX + 10)
void url_authority(const struct url *u, char out[URL_AUTHORITY_MAX]);

/* For status and logs: the URL with every query value replaced by "***" (tokens travel there). */
void url_blank(const char *text, char *out, size_t size);

/* HOST:PORT of an http proxy, `http://` before it allowed, no user info. The same results as url_parse. */
int url_parse_proxy(const char *text, char host[URL_HOST_MAX + 1], uint16_t *port, const char **why);

#endif
