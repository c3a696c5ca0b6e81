/* See upgrade.h. SHA-1 is called as OpenSSL 1.1 offers it: what 3.0 offers loads the providers first, which
 * is 1.6 MB of memory for who needs no TLS. */
#define OPENSSL_API_COMPAT 0x10100000L
#include "upgrade.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" /* RFC 6455, 1.3 */
#define ACCEPT_SIZE 28                              /* base64 of a SHA-1 */
#define SWITCHING_PROTOCOLS 101

/* ---- Requests ---- */

size_t upgrade_request(char *out, const struct url *u, const struct headers *h,
                       const uint8_t random[static 16], char key[static UPGRADE_KEY_SIZE])
{
    char authority[URL_AUTHORITY_MAX];
    unsigned char text[UPGRADE_KEY_SIZE + 1];
    size_t n;

    EVP_EncodeBlock(text, random, 16);
    memcpy(key, text, UPGRADE_KEY_SIZE);
    url_authority(u, authority);
    n = (size_t)snprintf(out, UPGRADE_REQUEST_MAX - HEADERS_MAX,
                         "GET %s HTTP/1.1\r\n"
                         "Host: %s\r\n"
                         "Upgrade: websocket\r\n"
                         "Connection: Upgrade\r\n"
                         "Sec-WebSocket-Key: %s\r\n"
                         "Sec-WebSocket-Version: 13\r\n"
                         "%s",
                         u->path, authority, (char *)text,
                         h->has_user_agent ? "" : "User-Agent: imd/" IMD_VERSION "\r\n");
    if (h->len)
        memcpy(out + n, h->text, h->len);
    memcpy(out + n + h->len, "\r\n", 2);
    return n + h->len + 2;
}

size_t upgrade_connect_request(char *out, const struct url *u)
{
    char host[URL_HOST_MAX + 3];

    snprintf(host, sizeof host, strchr(u->host, ':') ? "[%s]" : "%s", u->host);
    return (size_t)snprintf(out, UPGRADE_REQUEST_MAX, "CONNECT %s:%u HTTP/1.1\r\nHost: %s:%u\r\n\r\n", host,
                            u->port, host, u->port);
}

/* ---- Answers ---- */

struct text {
    const char *at;
    size_t len;
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* `HTTP/1.1 101 …`; 0: it is no such line. */
static unsigned status_of(struct text line)
{
    static const char start[] = "HTTP/1.";
    const char *at = line.at + sizeof start;

    if (line.len < sizeof start + 4 || memcmp(line.at, start, sizeof start - 1) != 0 || !is_digit(at[-1]) ||
        at[0] != ' ' || !is_digit(at[1]) || !is_digit(at[2]) || !is_digit(at[3]) ||
        (line.len > sizeof start + 4 && at[4] != ' '))
        return 0;
    return (unsigned)(at[1] - '0') * 100 + (unsigned)(at[2] - '0') * 10 + (unsigned)(at[3] - '0');
}

/* The next line, without its end; false: it is not whole. */
static bool next_line(struct text *rest, struct text *line)
{
    const char *end = memchr(rest->at, '\n', rest->len);

    if (!end)
        return false;
    *line = (struct text){rest->at, (size_t)(end - rest->at)};
    rest->len -= line->len + 1;
    rest->at = end + 1;
    if (line->len && end[-1] == '\r')
        line->len--;
    return true;
}

static struct text trimmed(struct text t)
{
    while (t.len && (t.at[0] == ' ' || t.at[0] == '\t')) {
        t.at++;
        t.len--;
    }
    while (t.len && (t.at[t.len - 1] == ' ' || t.at[t.len - 1] == '\t'))
        t.len--;
    return t;
}

static bool same(struct text t, const char *word)
{
    return t.len == strlen(word) && strncasecmp(t.at, word, t.len) == 0;
}

/* One of a list separated by commas. */
static bool has_token(struct text list, const char *word)
{
    while (list.len) {
        const char *comma = memchr(list.at, ',', list.len);
        size_t n = comma ? (size_t)(comma - list.at) : list.len;

        if (same(trimmed((struct text){list.at, n}), word))
            return true;
        n += comma != NULL;
        list = (struct text){list.at + n, list.len - n};
    }
    return false;
}

static void expected_accept(const char key[static UPGRADE_KEY_SIZE], char out[static ACCEPT_SIZE + 1])
{
    unsigned char digest[SHA_DIGEST_LENGTH];
    SHA_CTX sha;

    SHA1_Init(&sha);
    SHA1_Update(&sha, key, UPGRADE_KEY_SIZE);
    SHA1_Update(&sha, GUID, sizeof GUID - 1);
    SHA1_Final(digest, &sha);
    EVP_EncodeBlock((unsigned char *)out, digest, sizeof digest);
}

struct seen {
    bool upgrade, connection, accept, other_accept;
    const char *why; /* the first thing that is wrong */
};

static bool is_accept(struct text value, const char *accept)
{
    return value.len == ACCEPT_SIZE && memcmp(value.at, accept, ACCEPT_SIZE) == 0;
}

static void look_at_field(struct seen *s, struct text name, struct text value, const char *accept)
{
    if (same(name, "upgrade"))
        s->upgrade |= has_token(value, "websocket");
    else if (same(name, "connection"))
        s->connection |= has_token(value, "upgrade");
    else if (same(name, "sec-websocket-accept"))
        *(is_accept(value, accept) ? &s->accept : &s->other_accept) = true;
    else if (same(name, "sec-websocket-extensions") && value.len)
        s->why = "the server uses an extension that was not offered";
    else if (same(name, "sec-websocket-protocol") && value.len)
        s->why = "the server speaks a subprotocol that was not offered";
}

static void look_at_line(struct seen *s, struct text line, const char *accept)
{
    const char *colon = memchr(line.at, ':', line.len);
    size_t n = colon ? (size_t)(colon - line.at) : 0;

    if (!n || memchr(line.at, '\0', line.len) || line.at[0] == ' ' || line.at[0] == '\t')
        s->why = "the answer is not HTTP";
    else
        look_at_field(s, (struct text){line.at, n}, trimmed((struct text){colon + 1, line.len - n - 1}),
                      accept);
}

static const char *what_is_missing(const struct seen *s)
{
    if (s->why)
        return s->why;
    if (!s->upgrade)
        return "the answer to the upgrade has no \"Upgrade: websocket\"";
    if (!s->connection)
        return "the answer to the upgrade has no \"Connection: Upgrade\"";
    return s->accept && !s->other_accept ? NULL
                                         : "the answer to the upgrade has a wrong Sec-WebSocket-Accept";
}

static enum upgrade_verdict broken(struct upgrade_answer *a, const char *why)
{
    a->why = why;
    return UPGRADE_BROKEN;
}

/* UPGRADE_MORE: it begins as HTTP does, as far as it is there. */
static enum upgrade_verdict read_status(struct upgrade_answer *a, struct text *rest)
{
    static const char start[] = "HTTP/1.";
    size_t n = rest->len < sizeof start - 1 ? rest->len : sizeof start - 1;
    size_t all = rest->len;
    struct text line;

    if (memcmp(rest->at, start, n) != 0)
        return broken(a, "the answer is not HTTP");
    if (!next_line(rest, &line))
        return all < UPGRADE_ANSWER_MAX ? UPGRADE_MORE : broken(a, "the answer is too long");
    a->status = status_of(line);
    return a->status ? UPGRADE_DONE : broken(a, "the answer is not HTTP");
}

/* The header fields up to the empty line; seen: NULL when they do not matter. */
static enum upgrade_verdict read_fields(struct upgrade_answer *a, struct text rest, size_t all,
                                        struct seen *seen, const char *accept)
{
    struct text line;

    while (next_line(&rest, &line)) {
        if (!line.len) {
            a->size = all - rest.len;
            return a->size <= UPGRADE_ANSWER_MAX ? UPGRADE_DONE : broken(a, "the answer is too long");
        }
        if (seen)
            look_at_line(seen, line, accept);
    }
    return all < UPGRADE_ANSWER_MAX ? UPGRADE_MORE : broken(a, "the answer is too long");
}

enum upgrade_verdict upgrade_answer_read(struct upgrade_answer *a, const char *text, size_t n,
                                         const char key[static UPGRADE_KEY_SIZE])
{
    struct text rest = {text, n};
    char accept[ACCEPT_SIZE + 1];
    struct seen seen = {0};
    enum upgrade_verdict v;

    *a = (struct upgrade_answer){0};
    v = read_status(a, &rest);
    if (v != UPGRADE_DONE)
        return v;
    if (a->status != SWITCHING_PROTOCOLS)
        return UPGRADE_STATUS;
    expected_accept(key, accept);
    v = read_fields(a, rest, n, &seen, accept);
    if (v != UPGRADE_DONE)
        return v;
    a->why = what_is_missing(&seen);
    return a->why ? UPGRADE_BROKEN : UPGRADE_DONE;
}

enum upgrade_verdict upgrade_connect_answer_read(struct upgrade_answer *a, const char *text, size_t n)
{
    struct text rest = {text, n};
    enum upgrade_verdict v;

    *a = (struct upgrade_answer){0};
    v = read_status(a, &rest);
    if (v != UPGRADE_DONE)
        return v;
    return a->status / 100 == 2 ? read_fields(a, rest, n, NULL, NULL) : UPGRADE_STATUS;
}
