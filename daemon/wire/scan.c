/*
 * The walk is a loop over two steps: either a value is due, or one has just been read and what stands behind
 * it (a comma or the end of its container) is. There is no stack: a container that is still open keeps the
 * index of the one around it in its token's `next`, which nobody else needs until it is closed.
 *
 * Duplicate keys are looked for when an object is closed: in a small one each key against those before it, in
 * a large one (or one with escaped keys) through a hash table with a secret key, so that the time stays
 * linear in the length of the text whatever the text is.
 */
#include "scan.h"

#include "siphash.h"
#include "unescape.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define TOKENS_FIRST 64
#define SMALL_OBJECT 16 /* up to so many keys are compared pair by pair */
#define INTEGER_SURE 18 /* digits that always fit in 64 bits */
#define REAL_SURE 300   /* without an exponent, a number of so many characters is below DBL_MAX */

static_assert(sizeof(struct scan_token) <= 24, "tokens are to text as 12 to 1 in the worst case, not more");

struct walk {
    struct scan *s;
    const char *text, *p, *end;
    uint32_t open;  /* the innermost open container */
    unsigned level; /* how many are open */
    unsigned depth_max;
    bool due;                   /* a value is due at p */
    enum scan_result objection; /* SCAN_DUPLICATE or SCAN_RANGE, the first that was found */
};

static enum scan_result fail(struct walk *w, enum scan_result result, const char *why)
{
    w->s->error = why;
    w->s->error_at = (uint32_t)(w->p - w->text);
    w->s->count = 0;
    return result;
}

/* The text is well formed, but must be refused: the walk goes on, so that whoever refuses it can look into
 * it. */
static enum scan_result object_to(struct walk *w, enum scan_result result, uint32_t at, const char *why)
{
    if (w->objection == SCAN_OK) {
        w->objection = result;
        w->s->error = why;
        w->s->error_at = at;
    }
    return SCAN_OK;
}

static enum scan_result fail_syntax(struct walk *w, const char *why)
{
    return fail(w, SCAN_SYNTAX, why);
}

/* ---- Characters ---- */

/* NUL at the end: where this is asked, a NUL in the text is as wrong as the end is. */
static inline char peek(const struct walk *w)
{
    return w->p < w->end ? *w->p : '\0';
}

static inline bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static inline bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static inline void skip_space(struct walk *w)
{
    while (w->p < w->end && is_space(*w->p))
        w->p++;
}

/* ---- Strings ---- */

#define EACH_BYTE(x) (UINT64_C(0x0101010101010101) * (x))

static inline uint64_t load_little_endian(const char *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof(word));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

/*
 * Bit 7 of each byte that is a quote, a backslash, a control character or not ASCII. A subtraction borrows
 * only from a byte that is such a one itself, so the lowest bit that is set is right, and only it is looked
 * at.
 */
static inline uint64_t special_bytes(uint64_t word)
{
    uint64_t control = word - EACH_BYTE(0x20);
    uint64_t quote = (word ^ EACH_BYTE('"')) - EACH_BYTE(1);
    uint64_t backslash = (word ^ EACH_BYTE('\\')) - EACH_BYTE(1);
    return (control | quote | backslash | word) & EACH_BYTE(0x80);
}

static inline bool is_special(unsigned char c)
{
    return c < 0x20 || c == '"' || c == '\\' || c >= 0x80;
}

static inline const char *skip_plain(const char *p, const char *end)
{
    for (; end - p >= 8; p += 8) {
        uint64_t found = special_bytes(load_little_endian(p));
        if (found)
            return p + __builtin_ctzll(found) / 8;
    }
    while (p < end && !is_special((unsigned char)*p))
        p++;
    return p;
}

/* Bytes of the well-formed UTF-8 sequence (Unicode, table 3-7) that begins at p with a byte >= 0x80; 0:
 * ill-formed. */
static inline unsigned utf8_length(const char *text, const char *end)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t room = (size_t)(end - text);
    unsigned first = p[0];
    unsigned len = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    if (len == 0 || room < len)
        return 0;
    unsigned low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    unsigned high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < low || p[1] > high)
        return 0;
    for (unsigned i = 2; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return len;
}

/* At a backslash. */
static enum scan_result walk_escape(struct walk *w)
{
    size_t room = (size_t)(w->end - w->p);
    if (room >= 2 && escape_meaning(w->p[1])) {
        w->p += 2;
        return SCAN_OK;
    }
    int32_t c = room >= ESCAPE_UNICODE_LEN && w->p[1] == 'u' ? hex4(w->p + 2) : -1;
    if (c < 0)
        return fail_syntax(w, "a wrong escape in a string");
    size_t len = ESCAPE_UNICODE_LEN;
    if (is_high_surrogate(c)) {
        const char *low = w->p + len;
        len *= 2;
        if (room < len || low[0] != '\\' || low[1] != 'u' || !is_low_surrogate(hex4(low + 2)))
            return fail_syntax(w, "half a surrogate pair in a string");
    } else if (is_low_surrogate(c)) {
        return fail_syntax(w, "half a surrogate pair in a string");
    }
    w->p += len;
    return SCAN_OK;
}

/* Goes on to the closing quote. */
static enum scan_result walk_characters(struct walk *w, bool *escaped)
{
    for (;;) {
        w->p = skip_plain(w->p, w->end);
        if (w->p == w->end)
            return fail_syntax(w, "a string does not end");
        unsigned char c = (unsigned char)*w->p;
        if (c == '"')
            return SCAN_OK;
        if (c == '\\') {
            *escaped = true;
            enum scan_result r = walk_escape(w);
            if (r != SCAN_OK)
                return r;
        } else if (c < 0x20) {
            return fail_syntax(w, "a control character in a string");
        } else {
            while (w->p < w->end && (unsigned char)*w->p >= 0x80) {
                unsigned len = utf8_length(w->p, w->end);
                if (len == 0)
                    return fail_syntax(w, "a string is not UTF-8");
                w->p += len;
            }
        }
    }
}

static struct unescape unescape_begin(const struct scan *s, const struct scan_token *t)
{
    return (struct unescape){.p = s->text + t->at, .end = s->text + t->at + t->len};
}

static bool unescaped_equals(const struct scan *s, const struct scan_token *t, const char *bytes, size_t len)
{
    struct unescape u = unescape_begin(s, t);
    const char *piece;
    for (size_t n; (n = unescape_next(&u, &piece)) > 0; bytes += n, len -= n)
        if (n > len || memcmp(piece, bytes, n) != 0)
            return false;
    return len == 0;
}

static bool unescaped_has_nul(const struct scan *s, const struct scan_token *t)
{
    struct unescape u = unescape_begin(s, t);
    const char *piece;
    for (size_t n; (n = unescape_next(&u, &piece)) > 0;)
        if (memchr(piece, '\0', n))
            return true;
    return false;
}

/* ---- Duplicate keys ---- */

/* Both are strings, with or without escapes. */
static bool keys_equal(const struct scan *s, const struct scan_token *a, const struct scan_token *b)
{
    if (!a->escaped && !b->escaped)
        return a->len == b->len && memcmp(s->text + a->at, s->text + b->at, a->len) == 0;
    struct unescape ua = unescape_begin(s, a), ub = unescape_begin(s, b);
    const char *pa = NULL, *pb = NULL;
    size_t na = 0, nb = 0;
    for (;;) {
        if (na == 0)
            na = unescape_next(&ua, &pa);
        if (nb == 0)
            nb = unescape_next(&ub, &pb);
        if (na == 0 || nb == 0)
            return na == nb;
        size_t n = na < nb ? na : nb;
        if (memcmp(pa, pb, n) != 0)
            return false;
        pa += n, pb += n, na -= n, nb -= n;
    }
}

static uint32_t key_hash(const struct scan *s, const struct scan_token *key)
{
    struct siphash h;
    siphash_init(&h, s->hash_key);
    struct unescape u = unescape_begin(s, key);
    const char *piece;
    for (size_t n; (n = unescape_next(&u, &piece)) > 0;)
        siphash_feed(&h, piece, n);
    return (uint32_t)siphash_finish(&h);
}

/* Makes the table empty, with room for twice the keys. Grows only, and not beyond what the longest text
 * needs. */
static bool table_prepare(struct scan *s, uint32_t keys, uint32_t *mask)
{
    uint32_t size = 64;
    while (size / 2 < keys)
        size *= 2;
    if (size > s->table_size) {
        uint32_t *table = realloc(s->table, size * sizeof(*table));
        if (!table)
            return false;
        s->table = table;
        s->table_size = size;
    }
    memset(s->table, 0, size * sizeof(*s->table));
    *mask = size - 1;
    return true;
}

/* A slot of the table is the index of a key's token; 0, which is never a key, when it is empty. */
static enum scan_result check_large_object(struct walk *w, uint32_t object)
{
    struct scan *s = w->s;
    uint32_t mask;
    if (!table_prepare(s, s->tokens[object].count, &mask))
        return fail(w, SCAN_NO_MEMORY, "out of memory");
    for (uint32_t i = object + 1; i < s->count; i = s->tokens[i + 1].next) {
        struct scan_token *key = &s->tokens[i];
        key->count = key_hash(s, key); /* kept here to compare before the bytes are */
        uint32_t slot = key->count & mask;
        for (; s->table[slot]; slot = (slot + 1) & mask) {
            const struct scan_token *other = &s->tokens[s->table[slot]];
            if (other->count == key->count && keys_equal(s, key, other)) {
                return object_to(w, SCAN_DUPLICATE, key->at, "an object names a key twice");
            }
        }
        s->table[slot] = i;
    }
    return SCAN_OK;
}

/* The object is the last thing that was read. */
static enum scan_result check_keys(struct walk *w, uint32_t object)
{
    const struct scan_token *tokens = w->s->tokens;
    uint32_t keys[SMALL_OBJECT], n = 0;
    if (tokens[object].count > SMALL_OBJECT)
        return check_large_object(w, object);
    for (uint32_t i = object + 1; i < w->s->count; i = tokens[i + 1].next) {
        if (tokens[i].escaped)
            return check_large_object(w, object);
        for (uint32_t k = 0; k < n; k++)
            if (tokens[keys[k]].len == tokens[i].len && keys_equal(w->s, &tokens[keys[k]], &tokens[i])) {
                return object_to(w, SCAN_DUPLICATE, tokens[i].at, "an object names a key twice");
            }
        keys[n++] = i;
    }
    return SCAN_OK;
}

/* ---- Tokens ---- */

/*
 * How many tokens a text can make: a value owns its first byte and the comma or bracket behind it, a key its
 * quotes. Only the value being read, and the containers around it, have nothing behind them yet.
 */
static size_t tokens_most(const struct walk *w)
{
    return ((size_t)(w->end - w->text) + w->depth_max + 1) / 2;
}

static bool tokens_grow(struct walk *w)
{
    struct scan *s = w->s;
    size_t capacity = (size_t)s->capacity * 2;
    if (capacity > tokens_most(w))
        capacity = tokens_most(w);
    if (capacity < TOKENS_FIRST)
        capacity = TOKENS_FIRST;
    assert(capacity > s->capacity);
    struct scan_token *tokens = realloc(s->tokens, capacity * sizeof(*tokens));
    if (!tokens)
        return false;
    s->tokens = tokens;
    s->capacity = (uint32_t)capacity;
    return true;
}

/* A token that begins at p; NULL: out of memory. The caller fills len. */
static inline struct scan_token *token_push(struct walk *w, enum scan_type type)
{
    struct scan *s = w->s;
    if (s->count == s->capacity && !tokens_grow(w))
        return NULL;
    struct scan_token *t = &s->tokens[s->count++];
    *t = (struct scan_token){.type = (uint8_t)type,
                             .level = (uint8_t)(w->level + 1),
                             .at = (uint32_t)(w->p - w->text),
                             .next = s->count};
    return t;
}

static inline void token_end(struct walk *w, struct scan_token *t)
{
    t->len = (uint32_t)(w->p - w->text) - t->at;
}

/* At the opening quote. */
static enum scan_result walk_string(struct walk *w)
{
    w->p++;
    struct scan_token *t = token_push(w, SCAN_STRING);
    if (!t)
        return fail(w, SCAN_NO_MEMORY, "out of memory");
    bool escaped = false;
    enum scan_result r = walk_characters(w, &escaped);
    if (r != SCAN_OK)
        return r;
    t->escaped = escaped;
    token_end(w, t);
    w->p++;
    return SCAN_OK;
}

/* A key and its colon. */
static enum scan_result walk_key(struct walk *w)
{
    skip_space(w);
    if (peek(w) != '"')
        return fail_syntax(w, "a key is expected");
    uint32_t index = w->s->count;
    enum scan_result r = walk_string(w);
    if (r != SCAN_OK)
        return r;
    const struct scan_token *key = &w->s->tokens[index];
    if (key->escaped && unescaped_has_nul(w->s, key))
        return fail_syntax(w, "a NUL in a key");
    skip_space(w);
    if (peek(w) != ':')
        return fail_syntax(w, "':' is expected behind a key");
    w->p++;
    return SCAN_OK;
}

static enum scan_result walk_word(struct walk *w, enum scan_type type, const char *word, size_t len)
{
    if ((size_t)(w->end - w->p) < len || memcmp(w->p, word, len) != 0)
        return fail_syntax(w, "a value is expected");
    struct scan_token *t = token_push(w, type);
    if (!t)
        return fail(w, SCAN_NO_MEMORY, "out of memory");
    w->p += len;
    token_end(w, t);
    return SCAN_OK;
}

/* ---- Numbers ---- */

/* The digits of an integer; false when they are beyond 64 bits. */
static bool parse_digits(const char *p, const char *end, uint64_t *out)
{
    uint64_t value = 0;
    for (; p < end; p++)
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (unsigned)(*p - '0'), &value))
            return false;
    *out = value;
    return true;
}

static const char *skip_digits(const char *p)
{
    while (is_digit(*p))
        p++;
    return p;
}

/* Behind the integer part of a number: its fraction and exponent. NULL: it has none that is complete. */
static const char *skip_real_part(const char *p, bool *exponent)
{
    if (*p == '.') {
        if (!is_digit(*++p))
            return NULL;
        p = skip_digits(p);
    }
    if (*p == 'e' || *p == 'E') {
        *exponent = true;
        p++;
        if (*p == '+' || *p == '-')
            p++;
        if (!is_digit(*p))
            return NULL;
        p = skip_digits(p);
    }
    return p;
}

static enum scan_result check_integer(struct walk *w, const struct scan_token *t)
{
    const char *digits = w->text + t->at + t->escaped;
    uint64_t magnitude;
    if (w->p - digits <= INTEGER_SURE)
        return SCAN_OK;
    if (!parse_digits(digits, w->p, &magnitude) || (t->escaped && magnitude > (uint64_t)INT64_MAX + 1))
        return object_to(w, SCAN_RANGE, (uint32_t)(w->p - w->text), "an integer beyond 64 bits");
    return SCAN_OK;
}

static enum scan_result check_real(struct walk *w, const struct scan_token *t, bool exponent)
{
    w->s->reals++;
    if (!exponent && t->len < REAL_SURE)
        return SCAN_OK;
    if (__builtin_isinf(strtod(w->text + t->at, NULL)))
        return object_to(w, SCAN_RANGE, (uint32_t)(w->p - w->text), "a number beyond what a double holds");
    return SCAN_OK;
}

/* The byte at the end of the text continues no number, so that the digits need no other bound. */
static enum scan_result walk_number(struct walk *w)
{
    struct scan_token *t = token_push(w, SCAN_INT);
    if (!t)
        return fail(w, SCAN_NO_MEMORY, "out of memory");
    if (*w->p == '-') {
        t->escaped = true;
        w->p++;
    }
    if (!is_digit(*w->p))
        return fail_syntax(w, "a digit is expected");
    w->p = *w->p == '0' ? w->p + 1 : skip_digits(w->p);
    if (*w->p != '.' && *w->p != 'e' && *w->p != 'E') {
        token_end(w, t);
        return check_integer(w, t);
    }
    bool exponent = false;
    const char *end = skip_real_part(w->p, &exponent);
    if (!end)
        return fail_syntax(w, "a digit is expected behind '.' or 'e'");
    w->p = end;
    t->type = SCAN_REAL;
    t->escaped = false;
    token_end(w, t);
    return check_real(w, t, exponent);
}

/* ---- The walk ---- */

static enum scan_result walk_close(struct walk *w)
{
    uint32_t index = w->open;
    struct scan_token *t = &w->s->tokens[index];
    w->p++;
    token_end(w, t);
    w->open = t->next;
    t->next = w->s->count;
    w->level--;
    if (t->type == SCAN_OBJECT && t->count > 1)
        return check_keys(w, index);
    return SCAN_OK;
}

static inline char closing_bracket(enum scan_type type)
{
    return type == SCAN_OBJECT ? '}' : ']';
}

static enum scan_result walk_open(struct walk *w, enum scan_type type)
{
    if (w->level == w->depth_max)
        return fail(w, SCAN_TOO_DEEP, "nested too deep");
    uint32_t index = w->s->count;
    struct scan_token *t = token_push(w, type);
    if (!t)
        return fail(w, SCAN_NO_MEMORY, "out of memory");
    t->next = w->open;
    w->open = index;
    w->level++;
    w->p++;
    skip_space(w);
    if (peek(w) == closing_bracket(type))
        return walk_close(w);
    t->count = 1;
    w->due = true;
    return type == SCAN_OBJECT ? walk_key(w) : SCAN_OK;
}

/* Reads a value, or the beginning of a container up to where its first value is due. */
static enum scan_result walk_value(struct walk *w)
{
    skip_space(w);
    w->due = false;
    switch (peek(w)) {
    case '"':
        return walk_string(w);
    case '{':
        return walk_open(w, SCAN_OBJECT);
    case '[':
        return walk_open(w, SCAN_ARRAY);
    case 't':
        return walk_word(w, SCAN_TRUE, "true", 4);
    case 'f':
        return walk_word(w, SCAN_FALSE, "false", 5);
    case 'n':
        return walk_word(w, SCAN_NULL, "null", 4);
    default:
        if (peek(w) == '-' || is_digit(peek(w)))
            return walk_number(w);
        return fail_syntax(w, "a value is expected");
    }
}

/* Behind a value: a comma, up to where the next one is due, or the end of the container. */
static enum scan_result walk_behind(struct walk *w)
{
    skip_space(w);
    struct scan_token *t = &w->s->tokens[w->open];
    if (peek(w) == closing_bracket(t->type))
        return walk_close(w);
    if (peek(w) != ',')
        return fail_syntax(w, t->type == SCAN_OBJECT ? "',' or '}' is expected" : "',' or ']' is expected");
    w->p++;
    w->due = true;
    t->count++;
    return t->type == SCAN_OBJECT ? walk_key(w) : SCAN_OK;
}

/* Flattened, so that the walk's place in the text stays in registers: a fifth faster. */
__attribute__((flatten)) enum scan_result scan_text(struct scan *s, const char *text, size_t len,
                                                    unsigned depth_max)
{
    assert(depth_max < UINT8_MAX);
    struct walk w = {.s = s, .text = text, .p = text, .end = text + len, .depth_max = depth_max, .due = true};
    s->text = text;
    s->count = 0;
    s->reals = 0;
    s->error = NULL;
    s->error_at = 0;
    if (len >= UINT32_MAX)
        return fail(&w, SCAN_NO_MEMORY, "the text is too long");
    while (w.due || w.level > 0) {
        enum scan_result r = w.due ? walk_value(&w) : walk_behind(&w);
        if (r != SCAN_OK)
            return r;
    }
    skip_space(&w);
    if (w.p < w.end)
        return fail_syntax(&w, "something follows the value");
    return w.objection;
}

/* ---- Life and questions ---- */

void scan_init(struct scan *s)
{
    *s = (struct scan){0};
    if (getrandom(s->hash_key, sizeof(s->hash_key), GRND_NONBLOCK) == (ssize_t)sizeof(s->hash_key))
        return;
    /* So early in the boot that the kernel has no randomness yet: nobody is there who could guess this. */
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    s->hash_key[0] = (uint64_t)now.tv_nsec << 32 ^ (uint64_t)now.tv_sec;
    s->hash_key[1] = (uint64_t)(uintptr_t)s;
}

void scan_deinit(struct scan *s)
{
    free(s->tokens);
    free(s->table);
    *s = (struct scan){0};
}

static bool string_equals(const struct scan *s, const struct scan_token *t, const char *text, size_t len)
{
    if (t->escaped)
        return unescaped_equals(s, t, text, len);
    return t->len == len && memcmp(s->text + t->at, text, len) == 0;
}

uint32_t scan_member(const struct scan *s, uint32_t object, const char *key)
{
    if (s->tokens[object].type != SCAN_OBJECT)
        return 0;
    size_t len = strlen(key);
    for (uint32_t i = object + 1; i < s->tokens[object].next; i = s->tokens[i + 1].next)
        if (string_equals(s, &s->tokens[i], key, len))
            return i + 1;
    return 0;
}

bool scan_string_equals(const struct scan *s, uint32_t token, const char *text)
{
    const struct scan_token *t = &s->tokens[token];
    return t->type == SCAN_STRING && string_equals(s, t, text, strlen(text));
}

size_t scan_string_copy(const struct scan *s, uint32_t token, char *out)
{
    const struct scan_token *t = &s->tokens[token];
    if (!t->escaped) {
        memcpy(out, s->text + t->at, t->len);
        return t->len;
    }
    struct unescape u = unescape_begin(s, t);
    const char *piece;
    char *at = out;
    for (size_t n; (n = unescape_next(&u, &piece)) > 0; at += n) {
        if (n <= UNESCAPE_BLOCK && u.end - u.p >= UNESCAPE_BLOCK)
            memcpy(at, piece, UNESCAPE_BLOCK); /* one move, no call; what is too much is written over */
        else
            memcpy(at, piece, n);
    }
    return (size_t)(at - out);
}

/* The integer as sign and magnitude; false when it is none. */
static bool integer_parts(const struct scan *s, uint32_t token, bool *negative, uint64_t *magnitude)
{
    const struct scan_token *t = &s->tokens[token];
    const char *p = s->text + t->at;
    *negative = t->escaped;
    return t->type == SCAN_INT && parse_digits(p + t->escaped, p + t->len, magnitude);
}

bool scan_int64(const struct scan *s, uint32_t token, int64_t *out)
{
    bool negative;
    uint64_t magnitude;
    if (!integer_parts(s, token, &negative, &magnitude) || magnitude > (uint64_t)INT64_MAX + negative)
        return false;
    *out = (int64_t)(negative ? -magnitude : magnitude);
    return true;
}

bool scan_uint64(const struct scan *s, uint32_t token, uint64_t *out)
{
    bool negative;
    return integer_parts(s, token, &negative, out) && (!negative || *out == 0);
}

double scan_double(const struct scan *s, uint32_t token)
{
    const struct scan_token *t = &s->tokens[token];
    double value = strtod(s->text + t->at, NULL);
    return t->type == SCAN_INT ? value + 0.0 : value; /* -0 is the integer 0 */
}
