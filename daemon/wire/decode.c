/*
 * MessagePack -> JSON as one walk over the bytes.
 *
 * Every value writes its text and a ',' behind it. A container that ends puts its bracket over the last ',',
 * so nobody has to know whether he is the first; the ',' behind the outermost value is taken off at the end.
 * A stack of levels (fixed, in the caller's frame) says what is still to come.
 *
 * A key that is no string is written like a value, then made a JSON string where it stands: escaped from its
 * end backwards. Keys within such keys are escaped again and double each time, hence DECODE_KEY_DEPTH_MAX.
 *
 * A frame's outermost map is a level of its own kind, written without braces; its `data` map is another. Only
 * in these two are keys compared, so all that is deeper costs nothing more.
 *
 * Places in the text are offsets from the writer's base throughout, because the writer may move when it
 * grows.
 */
#include "decode.h"
#include "vocabulary.h"

#include <assert.h>
#include <endian.h>

static_assert(DECODE_DEPTH_MAX == MESSAGE_DEPTH_MAX + 1, "the envelope is one level");

enum level_kind { LEVEL_ARRAY, LEVEL_MAP, LEVEL_ENVELOPE, LEVEL_DATA };

#define NO_KEY SIZE_MAX

struct level {
    size_t left;   /* values still to come; a map's keys count too, so a key is next when this is even */
    size_t key_at; /* where the text begins when all of this is a map's key, or NO_KEY */
    enum level_kind kind;
};

/* A value that a frame's reader wants to know. */
enum field {
    FIELD_NONE,
    FIELD_CODE,
    FIELD_DATA,
    FIELD_CONVERSATION,
    FIELD_MESSAGE_ID,
    FIELD_TYPE,
    FIELD_FROM,
    FIELD_TO,
    FIELD_SIGNAL,
};

struct decoder {
    const uint8_t *at, *end;
    struct json_writer *w;
    const struct decode_options *options;
    struct decode_frame *frame; /* NULL: a bare value */
    size_t start;               /* offset of the first byte that is written here */
    struct level *level;        /* the innermost; levels[0] is the floor that holds the outermost value */
    struct level *floor;
    unsigned key_depth; /* containers around here that are keys */
    bool clash;         /* the envelope has `seq` or `time` */
};

const char *decode_result_text(enum decode_result r)
{
    static const char *const texts[] = {
        [DECODE_OK] = "ok",
        [DECODE_TRUNCATED] = "the value is cut off",
        [DECODE_TRAILING] = "bytes are left over behind the value",
        [DECODE_INVALID] = "the byte 0xc1 begins no value",
        [DECODE_TOO_DEEP] = "nested too deep",
        [DECODE_NO_ROOM] = "no room for its JSON text",
    };
    return texts[r];
}

/* ---- Heads: what the first bytes of a value say ---- */

enum kind {
    KIND_UINT,
    KIND_INT,
    KIND_STR,
    KIND_MAP,
    KIND_ARRAY,
    KIND_NIL,
    KIND_FALSE,
    KIND_TRUE,
    KIND_FLOAT32,
    KIND_FLOAT64,
    KIND_BIN,
    KIND_EXT,
    KIND_INVALID,
    KIND_CUT_OFF, /* the bytes end inside the head */
};

/*
 * Of a first byte: its kind and the number that belongs to it, which either follows (`width` bytes), or is
 * known
 * (`fixed`), or is in the byte's own bits (`mask`).
 */
static const struct format {
    uint8_t kind, width, fixed, mask;
} formats[256] = {
    [0x00 ... 0x7f] = {KIND_UINT, .mask = 0x7f},
    [0x80 ... 0x8f] = {KIND_MAP, .mask = 0x0f},
    [0x90 ... 0x9f] = {KIND_ARRAY, .mask = 0x0f},
    [0xa0 ... 0xbf] = {KIND_STR, .mask = 0x1f},
    [0xc0] = {.kind = KIND_NIL},
    [0xc1] = {.kind = KIND_INVALID},
    [0xc2] = {.kind = KIND_FALSE},
    [0xc3] = {.kind = KIND_TRUE},
    [0xc4] = {KIND_BIN, .width = 1},
    [0xc5] = {KIND_BIN, .width = 2},
    [0xc6] = {KIND_BIN, .width = 4},
    [0xc7] = {KIND_EXT, .width = 1},
    [0xc8] = {KIND_EXT, .width = 2},
    [0xc9] = {KIND_EXT, .width = 4},
    [0xca] = {KIND_FLOAT32, .width = 4},
    [0xcb] = {KIND_FLOAT64, .width = 8},
    [0xcc] = {KIND_UINT, .width = 1},
    [0xcd] = {KIND_UINT, .width = 2},
    [0xce] = {KIND_UINT, .width = 4},
    [0xcf] = {KIND_UINT, .width = 8},
    [0xd0] = {KIND_INT, .width = 1},
    [0xd1] = {KIND_INT, .width = 2},
    [0xd2] = {KIND_INT, .width = 4},
    [0xd3] = {KIND_INT, .width = 8},
    [0xd4] = {KIND_EXT, .fixed = 1},
    [0xd5] = {KIND_EXT, .fixed = 2},
    [0xd6] = {KIND_EXT, .fixed = 4},
    [0xd7] = {KIND_EXT, .fixed = 8},
    [0xd8] = {KIND_EXT, .fixed = 16},
    [0xd9] = {KIND_STR, .width = 1},
    [0xda] = {KIND_STR, .width = 2},
    [0xdb] = {KIND_STR, .width = 4},
    [0xdc] = {KIND_ARRAY, .width = 2},
    [0xdd] = {KIND_ARRAY, .width = 4},
    [0xde] = {KIND_MAP, .width = 2},
    [0xdf] = {KIND_MAP, .width = 4},
    [0xe0 ... 0xff] = {KIND_INT, .mask = 0xff},
};

struct head {
    enum kind kind;
    uint64_t n; /* the number (KIND_INT: an int64_t), the bits of a float, a length, or a count */
};

static inline bool has_bytes(const struct decoder *d, uint64_t n)
{
    return n <= (uint64_t)(d->end - d->at);
}

static inline uint64_t load_number(const uint8_t *from, unsigned width)
{
    uint64_t number = 0;
    for (unsigned i = 0; i < width; i++)
        number = number << 8 | from[i];
    return number;
}

static inline int64_t sign_extend(uint64_t number, unsigned width)
{
    unsigned unused = 64 - 8 * width;
    return (int64_t)(number << unused) >> unused;
}

static struct head head_read_number(struct decoder *d, enum kind kind, unsigned width)
{
    if (!has_bytes(d, width))
        return (struct head){KIND_CUT_OFF, 0};
    uint64_t number = load_number(d->at, width);
    d->at += width;
    return (struct head){kind, kind == KIND_INT ? (uint64_t)sign_extend(number, width) : number};
}

/* The head of the value at d->at, which is moved behind it. What it announces is not checked yet. */
static inline struct head head_read(struct decoder *d)
{
    if (d->at == d->end)
        return (struct head){KIND_CUT_OFF, 0};
    uint8_t first = *d->at++;
    if (first >= 0xa0 && first <= 0xbf) /* a short string, as most are: quicker than to wait for the table */
        return (struct head){KIND_STR, first & 0x1f};
    const struct format *f = &formats[first];
    if (f->width)
        return head_read_number(d, f->kind, f->width);
    return (struct head){f->kind,
                         f->kind == KIND_INT ? (uint64_t)(int8_t)first : f->fixed | (first & f->mask)};
}

/* ---- Writing ---- */

static inline size_t text_length(const struct decoder *d)
{
    return json_writer_length(d->w);
}

static inline enum decode_result append(struct json_writer *w, char c)
{
    if (!json_room(w, 1))
        return DECODE_NO_ROOM;
    *w->at++ = c;
    return DECODE_OK;
}

/* Makes the text from `from` on, with the ',' behind it, a string and a ':'. It is JSON: only '"' and '\'
 * need an escape. */
static enum decode_result key_finish(struct decoder *d, size_t from)
{
    struct json_writer *w = d->w;
    size_t len = text_length(d) - from - 1, escapes = 0;
    for (const char *p = w->base + from; p < w->at; p++)
        escapes += *p == '"' || *p == '\\';
    if (!json_room(w, escapes + 2))
        return DECODE_NO_ROOM;
    const char *first = w->base + from;
    const char *read = first + len;
    char *write = w->base + from + 1 + len + escapes;
    w->at = write + 2;
    memcpy(write, "\":", 2);
    while (read > first) {
        *--write = *--read;
        if (*read == '"' || *read == '\\')
            *--write = '\\';
    }
    *--write = '"';
    return DECODE_OK;
}

/* ---- Strings, binaries, extensions ---- */

static inline enum decode_result write_str(struct decoder *d, uint64_t len, char behind)
{
    if (!has_bytes(d, len))
        return DECODE_TRUNCATED;
    if (has_bytes(d, len + JSON_BLOCK))
        json_quoted_padded(d->w, (const char *)d->at, len);
    else
        json_quoted(d->w, (const char *)d->at, len);
    d->at += len;
    return append(d->w, behind);
}

static bool is_attached(struct decoder *d, uint64_t len)
{
    const struct decode_options *o = d->options;

    return o && o->attach && len > o->inline_max && o->attach(o->self, d->w, d->at, len);
}

static enum decode_result write_bin(struct decoder *d, uint64_t len)
{
    if (!has_bytes(d, len))
        return DECODE_TRUNCATED;
    if (!is_attached(d, len)) {
        json_literal(d->w, "{\"$bin\":\"");
        json_base64(d->w, d->at, len);
        json_literal(d->w, "\"}");
    }
    d->at += len;
    return append(d->w, ',');
}

struct date {
    int64_t year;
    unsigned month, day;
};

/*
 * The proleptic Gregorian date of a day. Counted from 1 March of the year 0, leap days come last in their
 * year, in their four years and in their 400 years; thus each division leaves what the next one needs.
 */
static struct date date_of_day(int64_t day_since_1970)
{
    const int64_t days_of_400_years = 146097;
    int64_t day = day_since_1970 + 719468;
    int64_t eras = (day >= 0 ? day : day - (days_of_400_years - 1)) / days_of_400_years;
    unsigned of_era = (unsigned)(day - eras * days_of_400_years);
    unsigned year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    unsigned of_year = of_era - (365 * year + year / 4 - year / 100);
    unsigned month = (5 * of_year + 2) / 153; /* from March; 153 days are five months, the year round */
    struct date date = {.day = of_year - (153 * month + 2) / 5 + 1,
                        .month = month < 10 ? month + 3 : month - 9};
    date.year = eras * 400 + year + (date.month <= 2);
    return date;
}

static char *write_padded(char *at, unsigned number, int digits, char behind)
{
    for (int i = digits - 1; i >= 0; i--, number /= 10)
        at[i] = (char)('0' + number % 10);
    at[digits] = behind;
    return at + digits + 1;
}

#define SECONDS_OF_YEAR_0 INT64_C(-62167219200)     /* 0000-01-01T00:00:00Z */
#define SECONDS_OF_YEAR_10000 INT64_C(253402300800) /* the first second that RFC 3339 cannot say */

static void write_rfc3339(struct json_writer *w, int64_t seconds, unsigned nanoseconds)
{
    char text[40], *at = text;
    uint64_t since = (uint64_t)(seconds - SECONDS_OF_YEAR_0); /* begins a day, so no sign is in the way */
    unsigned of_day = (unsigned)(since % 86400);
    struct date date = date_of_day((int64_t)(since / 86400) + SECONDS_OF_YEAR_0 / 86400);
    *at++ = '"';
    at = write_padded(at, (unsigned)date.year, 4, '-');
    at = write_padded(at, date.month, 2, '-');
    at = write_padded(at, date.day, 2, 'T');
    at = write_padded(at, of_day / 3600, 2, ':');
    at = write_padded(at, of_day / 60 % 60, 2, ':');
    at = write_padded(at, of_day % 60, 2, '.');
    at = nanoseconds ? write_padded(at, nanoseconds, 9, '.') : at;
    for (at--; at[-1] == '0' && nanoseconds; at--)
        ; /* trailing zeros say nothing */
    memcpy(at, "Z\"", 2);
    json_raw(w, text, (size_t)(at + 2 - text));
}

#define EXT_TIMESTAMP (-1)

/* false: not one of the three forms, or nothing that RFC 3339 can say. */
static bool write_timestamp(struct json_writer *w, const uint8_t *bytes, uint64_t len)
{
    int64_t seconds;
    uint64_t nanoseconds = 0;
    if (len == 4) {
        seconds = (int64_t)load_number(bytes, 4);
    } else if (len == 8) {
        uint64_t both = load_number(bytes, 8);
        nanoseconds = both >> 34;
        seconds = (int64_t)(both & 0x3ffffffff);
    } else if (len == 12) {
        nanoseconds = load_number(bytes, 4);
        seconds = (int64_t)load_number(bytes + 4, 8);
    } else {
        return false;
    }
    if (nanoseconds > 999999999 || seconds < SECONDS_OF_YEAR_0 || seconds >= SECONDS_OF_YEAR_10000)
        return false;
    write_rfc3339(w, seconds, (unsigned)nanoseconds);
    return true;
}

static enum decode_result write_ext(struct decoder *d, uint64_t len)
{
    if (!has_bytes(d, 1 + len))
        return DECODE_TRUNCATED;
    int8_t type = (int8_t)*d->at++;
    if (type != EXT_TIMESTAMP || !write_timestamp(d->w, d->at, len)) {
        json_literal(d->w, "{\"$ext\":{\"type\":");
        json_int(d->w, type);
        json_literal(d->w, ",\"data\":\"");
        json_base64(d->w, d->at, len);
        json_literal(d->w, "\"}}");
    }
    d->at += len;
    return append(d->w, ',');
}

static void write_float32(struct json_writer *w, uint64_t bits)
{
    uint32_t half = (uint32_t)bits;
    float value;
    memcpy(&value, &half, sizeof(value));
    json_double(w, value);
}

static void write_float64(struct json_writer *w, uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof(value));
    json_double(w, value);
}

static enum decode_result write_other(struct decoder *d, struct head h)
{
    switch (h.kind) {
    case KIND_NIL:
        json_literal(d->w, "null");
        break;
    case KIND_FALSE:
        json_literal(d->w, "false");
        break;
    case KIND_TRUE:
        json_literal(d->w, "true");
        break;
    case KIND_FLOAT32:
        write_float32(d->w, h.n);
        break;
    case KIND_FLOAT64:
        write_float64(d->w, h.n);
        break;
    case KIND_BIN:
        return write_bin(d, h.n);
    case KIND_EXT:
        return write_ext(d, h.n);
    case KIND_CUT_OFF:
        return DECODE_TRUNCATED;
    default:
        return DECODE_INVALID;
    }
    return append(d->w, ',');
}

/* ---- Levels ---- */

/* The values of a container lie ahead: `left` of them, each at least one byte. */
static enum decode_result level_open(struct decoder *d, enum level_kind kind, uint64_t left)
{
    if (d->level == d->floor + DECODE_DEPTH_MAX)
        return DECODE_TOO_DEEP;
    if (!has_bytes(d, left))
        return DECODE_TRUNCATED;
    *++d->level = (struct level){.left = (size_t)left, .key_at = NO_KEY, .kind = kind};
    return DECODE_OK;
}

static enum decode_result level_close(struct decoder *d)
{
    struct level *closed = d->level--;
    if (closed->kind == LEVEL_ENVELOPE)
        return DECODE_OK;
    d->w->at[-1] = closed->kind == LEVEL_ARRAY ? ']' : '}';
    enum decode_result r = append(d->w, ',');
    if (r || closed->key_at == NO_KEY)
        return r;
    d->key_depth--;
    return key_finish(d, closed->key_at);
}

static enum decode_result write_container(struct decoder *d, enum level_kind kind, uint64_t left)
{
    enum decode_result r = level_open(d, kind, left);
    if (r)
        return r;
    if (left)
        return append(d->w, kind == LEVEL_ARRAY ? '[' : '{');
    d->level--;
    if (kind == LEVEL_ARRAY)
        json_literal(d->w, "[],");
    else
        json_literal(d->w, "{},");
    return d->w->failed ? DECODE_NO_ROOM : DECODE_OK;
}

static inline enum decode_result write_uint(struct decoder *d, uint64_t number)
{
    if (number < 10 && json_room(d->w, 2)) {
        *d->w->at++ = (char)('0' + number);
        *d->w->at++ = ',';
        return DECODE_OK;
    }
    json_uint(d->w, number);
    return append(d->w, ',');
}

static inline enum decode_result write_value(struct decoder *d, struct head h)
{
    switch (h.kind) {
    case KIND_STR:
        return write_str(d, h.n, ',');
    case KIND_UINT:
        return write_uint(d, h.n);
    case KIND_INT:
        json_int(d->w, (int64_t)h.n);
        return append(d->w, ',');
    case KIND_ARRAY:
        return write_container(d, LEVEL_ARRAY, h.n);
    case KIND_MAP:
        return write_container(d, LEVEL_MAP, 2 * h.n);
    default:
        return write_other(d, h);
    }
}

/* ---- A frame's fields ---- */

/* The data map's keys that are looked for; no two of the same length, or the switch does not compile. */
#define DATA_KEYS(X)                    \
    X(KEY_TO, FIELD_TO)                 \
    X(KEY_FROM, FIELD_FROM)             \
    X(KEY_MESSAGE_ID, FIELD_MESSAGE_ID) \
    X(KEY_SIGNAL_NAME, FIELD_SIGNAL)    \
    X(KEY_MESSAGE_TYPE, FIELD_TYPE)     \
    X(KEY_CONVERSATION_TYPE, FIELD_CONVERSATION)

static inline enum field data_field(const uint8_t *key, uint64_t len)
{
    switch (len) {
#define DATA_KEY(text, field) \
    case sizeof(text) - 1:    \
        return memcmp(key, text, sizeof(text) - 1) == 0 ? field : FIELD_NONE;
        DATA_KEYS(DATA_KEY)
#undef DATA_KEY
    default:
        return FIELD_NONE;
    }
}

static bool key_is(const uint8_t *key, uint64_t len, const char *text)
{
    return len == strlen(text) && memcmp(key, text, len) == 0;
}

static enum field envelope_field(struct decoder *d, const uint8_t *key, uint64_t len)
{
    if (key_is(key, len, KEY_CODE))
        return FIELD_CODE;
    if (key_is(key, len, KEY_DATA))
        return FIELD_DATA;
    if (key_is(key, len, "seq") || key_is(key, len, "time")) /* imd's own members of an event */
        d->clash = true;
    return FIELD_NONE;
}

static struct decode_string *string_field(struct decode_frame *f, enum field field)
{
    switch (field) {
    case FIELD_MESSAGE_ID:
        return &f->message_id;
    case FIELD_TYPE:
        return &f->type;
    case FIELD_FROM:
        return &f->from;
    case FIELD_TO:
        return &f->to;
    default:
        return &f->signal;
    }
}

/* The integer, saturated; false when it is none. */
static bool head_integer(const struct head *h, int64_t *out)
{
    *out = h->kind == KIND_UINT && h->n > INT64_MAX ? INT64_MAX : (int64_t)h->n;
    if (h->kind != KIND_UINT && h->kind != KIND_INT)
        *out = 0;
    return h->kind == KIND_UINT || h->kind == KIND_INT;
}

/* A second `data` makes the first one's fields void. */
static void frame_data(struct decoder *d, const struct head *h)
{
    struct decode_frame *f = d->frame;
    *f = (struct decode_frame){
        .is_envelope = true, .has_code = f->has_code, .code = f->code, .has_data = h->kind == KIND_MAP};
    if (h->kind == KIND_MAP && h->n > 0)
        d->level->kind = LEVEL_DATA;
}

/* The value with head h has been written from offset `from` on (a container: has been opened). */
static void frame_note(struct decoder *d, enum field field, const struct head *h, size_t from)
{
    struct decode_frame *f = d->frame;
    if (field == FIELD_DATA) {
        frame_data(d, h);
    } else if (field == FIELD_CODE) {
        f->is_envelope = true;
        f->has_code = head_integer(h, &f->code);
    } else if (field == FIELD_CONVERSATION) {
        f->has_conversation = head_integer(h, &f->conversation);
    } else if (h->kind != KIND_STR) {
        *string_field(f, field) = (struct decode_string){0};
    } else {
        *string_field(f, field) = (struct decode_string){
            .bytes = (const char *)d->at - h->n,
            .len = (uint32_t)h->n,
            .json_at = (uint32_t)(from + 1 - d->start),
            .json_len = (uint32_t)(text_length(d) - from - 3), /* two quotes, ',' */
        };
    }
}

/* ---- The walk ---- */

static enum decode_result value_next(struct decoder *d)
{
    return write_value(d, head_read(d));
}

static enum decode_result field_next(struct decoder *d, enum field field)
{
    struct head h = head_read(d);
    size_t from = text_length(d);
    enum decode_result r = write_value(d, h);
    if (r == DECODE_OK)
        frame_note(d, field, &h, from);
    return r;
}

/* A key that is no string. When it is a container, the walk goes on inside it. */
static enum decode_result key_other(struct decoder *d, struct head h)
{
    struct level *map = d->level;
    size_t from = text_length(d);
    map->left--;
    enum decode_result r = write_value(d, h);
    if (r)
        return r;
    if (d->level == map)
        return key_finish(d, from);
    if (++d->key_depth > DECODE_KEY_DEPTH_MAX)
        return DECODE_TOO_DEEP;
    d->level->key_at = from;
    return DECODE_OK;
}

static inline enum decode_result member_next(struct decoder *d)
{
    struct level *map = d->level;
    struct head h = head_read(d);
    if (__builtin_expect(h.kind != KIND_STR, 0))
        return key_other(d, h);
    const uint8_t *key = d->at;
    map->left -= 2;
    enum decode_result r = write_str(d, h.n, ':');
    if (r)
        return r;
    if (map->kind == LEVEL_MAP)
        return value_next(d);
    enum field field = map->kind == LEVEL_DATA ? data_field(key, h.n) : envelope_field(d, key, h.n);
    return field == FIELD_NONE ? value_next(d) : field_next(d, field);
}

static inline enum decode_result item_next(struct decoder *d)
{
    d->level->left--;
    return value_next(d);
}

/* Until the floor is reached. */
static enum decode_result walk(struct decoder *d)
{
    enum decode_result r = DECODE_OK;
    while (r == DECODE_OK && d->level != d->floor) {
        struct level *level = d->level;
        if (level->left == 0)
            r = level_close(d);
        else if (level->kind == LEVEL_ARRAY || level->left % 2 == 1)
            r = item_next(d);
        else
            r = member_next(d);
    }
    return r;
}

static enum decode_result finish(struct decoder *d)
{
    if (d->at != d->end)
        return DECODE_TRAILING;
    d->w->at--; /* the last ',' */
    return text_length(d) - d->start > UINT32_MAX ? DECODE_NO_ROOM : DECODE_OK;
}

enum decode_result decode_value(const struct decode_options *o, const uint8_t *bytes, size_t len,
                                struct json_writer *w)
{
    struct level levels[DECODE_DEPTH_MAX + 1];
    struct decoder d = {
        .at = bytes, .end = bytes + len, .w = w, .options = o, .level = levels, .floor = levels};
    d.start = json_writer_length(w);
    enum decode_result r = value_next(&d);
    if (r == DECODE_OK)
        r = walk(&d);
    return r ? r : finish(&d);
}

static void string_move(struct decode_string *s, uint32_t by)
{
    if (s->bytes)
        s->json_at += by;
}

/* The members that were written become those of an object that is `data`. */
static enum decode_result frame_wrap(struct decoder *d)
{
    static const char open[] = "\"data\":{";
    const uint32_t shift = sizeof(open) - 1;
    if (!json_room(d->w, shift + 1))
        return DECODE_NO_ROOM;
    char *text = d->w->base + d->start;
    size_t len = text_length(d) - d->start;
    memmove(text + shift, text, len);
    memcpy(text, open, shift);
    text[shift + len] = '}';
    d->w->at += shift + 1;
    for (enum field field = FIELD_MESSAGE_ID; field <= FIELD_SIGNAL; field++)
        string_move(string_field(d->frame, field), shift);
    return DECODE_OK;
}

static enum decode_result frame_of_members(struct decoder *d, uint64_t members)
{
    enum decode_result r = level_open(d, LEVEL_ENVELOPE, 2 * members);
    if (r == DECODE_OK)
        r = walk(d);
    if (r == DECODE_OK)
        r = finish(d);
    if (r == DECODE_OK && (d->clash || !d->frame->is_envelope))
        r = frame_wrap(d);
    return r;
}

static enum decode_result frame_of_value(struct decoder *d, struct head h)
{
    json_first_key(d->w, KEY_DATA);
    enum decode_result r = write_value(d, h);
    if (r == DECODE_OK)
        r = walk(d);
    return r ? r : finish(d);
}

enum decode_result decode_frame(const struct decode_options *o, const uint8_t *bytes, size_t len,
                                struct json_writer *w, struct decode_frame *f)
{
    struct level levels[DECODE_DEPTH_MAX + 1];
    struct decoder d = {
        .at = bytes, .end = bytes + len, .w = w, .options = o, .frame = f, .level = levels, .floor = levels};
    d.start = json_writer_length(w);
    *f = (struct decode_frame){0};
    struct head h = head_read(&d);
    return h.kind == KIND_MAP && h.n > 0 ? frame_of_members(&d, h.n) : frame_of_value(&d, h);
}
