/*
 * The JSON scanner of the request path: walks a line once, checks all of it (RFC 8259 grammar, UTF-8, depth,
 * no duplicate keys, numbers that can be held), and leaves a flat array of tokens. No tree, no copy; the
 * token array is kept from line to line, so that a request costs no malloc. Not thread-safe; one struct scan
 * a thread.
 */
#ifndef IMD_SCAN_H
#define IMD_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Well beyond what encode lets pass (MESSAGE_DEPTH_MAX, which it counts exactly): what is nested too deep can
 * then be refused under the request's id.
 */
#define SCAN_DEPTH_MAX 254

enum scan_type {
    SCAN_NULL,
    SCAN_FALSE,
    SCAN_TRUE,
    SCAN_INT,
    SCAN_REAL,
    SCAN_STRING,
    SCAN_ARRAY,
    SCAN_OBJECT
};

/*
 * Tokens are in document order. An object's children are key, value, key, value, …; each key is a
 * SCAN_STRING. `next` is the index of the first token behind this value (its sibling, or the end).
 */
struct scan_token {
    uint8_t type;    /* enum scan_type */
    uint8_t escaped; /* SCAN_STRING: has a backslash. SCAN_INT: begins with '-' */
    uint8_t level;   /* the outermost value is 1; only arrays and objects count for the depth limit */
    uint32_t at;     /* offset in the text; a string's is behind its quote */
    uint32_t len; /* bytes of the text; a string's without quotes; of array and object with their brackets */
    uint32_t next;
    uint32_t count; /* ARRAY: items, OBJECT: members; of others unspecified */
};

struct scan {
    const char *text;
    struct scan_token *tokens;
    uint32_t count, capacity;
    uint32_t reals;  /* how many SCAN_REAL there are: encode_bound needs it */
    uint32_t *table; /* scratch to find duplicate keys of large objects */
    uint32_t table_size;
    uint64_t hash_key[2]; /* random, so that nobody can choose keys that collide */
    uint32_t error_at;    /* where in the text it failed */
    const char *error;    /* a sentence; static */
};

enum scan_result {
    SCAN_OK = 0,
    SCAN_SYNTAX,    /* not JSON, not UTF-8, half a surrogate pair, or an escaped NUL in a key */
    SCAN_DUPLICATE, /* an object names a key twice */
    SCAN_TOO_DEEP,
    SCAN_RANGE,     /* an integer beyond 64 bits, a real beyond a double */
    SCAN_NO_MEMORY, /* or the text is 4 GiB or longer */
};

void scan_init(struct scan *s);
void scan_deinit(struct scan *s); /* safe to call twice */

/*
 * text[0 … len) is one JSON value with optional white space around it; text[len] must be readable and must
 * not be able to continue a number (the line's '\n' or a NUL serves). The text must stay until the tokens are
 * no longer used. Token 0 is the outermost value. There are at most (len + 1) / 2 tokens. depth_max is at
 * most 255. Unless SCAN_OK, error and error_at say what is wrong, and there are no tokens; but with
 * SCAN_DUPLICATE and SCAN_RANGE, which are found in text that is well formed, there are. The process must run
 * in the C locale (strtod).
 */
enum scan_result scan_text(struct scan *s, const char *text, size_t len, unsigned depth_max);

/* The value of a member, or 0 when the object has no such key. The key is compared unescaped. */
uint32_t scan_member(const struct scan *s, uint32_t object, const char *key);

bool scan_string_equals(const struct scan *s, uint32_t token, const char *text); /* unescaped compare */

/* The unescaped bytes; out must have room for token.len bytes. Returns the length. Escaped NUL is a byte like
 * any other. */
size_t scan_string_copy(const struct scan *s, uint32_t token, char *out);

/* An integer that fits the type; false when it is no SCAN_INT or does not fit. */
bool scan_int64(const struct scan *s, uint32_t token, int64_t *out);
bool scan_uint64(const struct scan *s, uint32_t token, uint64_t *out);
double scan_double(const struct scan *s, uint32_t token); /* of SCAN_INT and SCAN_REAL */

#endif
