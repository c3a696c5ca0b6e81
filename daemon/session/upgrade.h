/*
 * The opening handshake (RFC 6455, section 4), and what a proxy is asked before it (RFC 9110, CONNECT):
 * requests as text, and what an answer means. No subprotocol and no extension is offered, so an answer that
 * names one is refused. Pure.
 */
#ifndef IMD_UPGRADE_H
#define IMD_UPGRADE_H

#include "headers.h"
#include "url.h"

#include <stddef.h>
#include <stdint.h>

#define UPGRADE_KEY_SIZE 24                            /* base64 of 16 bytes, without a NUL */
#define UPGRADE_REQUEST_MAX (HEADERS_MAX + (4u << 10)) /* bytes of any request */
#define UPGRADE_ANSWER_MAX (16u << 10)                 /* of the head of an answer */

/* Writes at most UPGRADE_REQUEST_MAX bytes; their number. */
size_t upgrade_request(char *out, const struct url *u, const struct headers *h,
                       const uint8_t random[static 16], char key[static UPGRADE_KEY_SIZE]);
size_t upgrade_connect_request(char *out, const struct url *u);

enum upgrade_verdict {
    UPGRADE_MORE, /* its end has not come */
    UPGRADE_DONE,
    UPGRADE_STATUS, /* another answer than the one that was hoped for */
    UPGRADE_BROKEN, /* no HTTP, or not what RFC 6455 asks for; `why` */
};

struct upgrade_answer {
    unsigned status; /* 0: not known */
    size_t size;     /* UPGRADE_DONE: bytes of the head; what follows is not ours */
    const char *why; /* static */
};

enum upgrade_verdict upgrade_answer_read(struct upgrade_answer *a, const char *text, size_t n,
                                         const char key[static UPGRADE_KEY_SIZE]);
enum upgrade_verdict upgrade_connect_answer_read(struct upgrade_answer *a, const char *text, size_t n);

#endif
