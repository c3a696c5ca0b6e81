#include "envelope.h"

#include <string.h>
#include <sys/random.h>
#include <time.h>

static uint64_t read_be(const unsigned char *p, size_t n)
{
    uint64_t value = 0;

    while (n--)
        value = value << 8 | *p++;
    return value;
}

/* One value's header: how many bytes it and its own data take, and how many values follow as its children. */
struct node {
    uint64_t size;
    uint64_t children;
};

static uint64_t fixed_size(unsigned char b)
{
    if (b >= 0xd4 && b <= 0xd8) /* fixext: a type and 1, 2, 4, 8 or 16 bytes */
        return 2 + ((uint64_t)1 << (b - 0xd4));
    switch (b) {
    case 0xcc: /* uint8, int8 */
    case 0xd0:
        return 2;
    case 0xcd: /* uint16, int16 */
    case 0xd1:
        return 3;
    case 0xca: /* float32, uint32, int32 */
    case 0xce:
    case 0xd2:
        return 5;
    case 0xcb: /* float64, uint64, int64 */
    case 0xcf:
    case 0xd3:
        return 9;
    default:
        return 1;
    }
}

/* Headers with a length: how many bytes the length takes, and what it counts. */
static bool node_read_sized(const unsigned char *p, size_t left, struct node *node)
{
    static const struct {
        unsigned char width, extra, is_array, is_map;
    } sized[256] = {
        [0xc4] = {1, 0, 0, 0}, [0xc5] = {2, 0, 0, 0}, [0xc6] = {4, 0, 0, 0}, [0xc7] = {1, 1, 0, 0},
        [0xc8] = {2, 1, 0, 0}, [0xc9] = {4, 1, 0, 0}, [0xd9] = {1, 0, 0, 0}, [0xda] = {2, 0, 0, 0},
        [0xdb] = {4, 0, 0, 0}, [0xdc] = {2, 0, 1, 0}, [0xdd] = {4, 0, 1, 0}, [0xde] = {2, 0, 0, 1},
        [0xdf] = {4, 0, 0, 1},
    };
    size_t width = sized[*p].width;
    uint64_t n;

    if (!width) {
        *node = (struct node){.size = fixed_size(*p)};
        return true;
    }
    if (left < 1 + width)
        return false;
    n = read_be(p + 1, width);
    if (sized[*p].is_array || sized[*p].is_map)
        *node = (struct node){.size = 1 + width, .children = sized[*p].is_map ? 2 * n : n};
    else
        *node = (struct node){.size = 1 + width + sized[*p].extra + n};
    return true;
}

static bool node_read(const unsigned char *p, size_t left, struct node *node)
{
    if (*p == 0xc1) /* the one byte that MessagePack never uses */
        return false;
    if (*p <= 0x7f || *p >= 0xe0)
        *node = (struct node){.size = 1};
    else if (*p <= 0x8f)
        *node = (struct node){.size = 1, .children = 2 * (uint64_t)(*p & 0x0f)};
    else if (*p <= 0x9f)
        *node = (struct node){.size = 1, .children = *p & 0x0f};
    else if (*p <= 0xbf)
        *node = (struct node){.size = 1 + (uint64_t)(*p & 0x1f)};
    else if (!node_read_sized(p, left, node))
        return false;
    /* Each child takes a byte at least: what cannot be there is refused before anybody counts to it. */
    return node->size <= left && node->children <= left - node->size;
}

/* Takes one whole value off the front. */
static bool slice_take(struct slice *from, struct slice *value)
{
    const unsigned char *p = from->at;
    size_t left = from->len;
    uint64_t pending = 1;

    while (pending) {
        struct node node;

        if (pending > left || !node_read(p, left, &node))
            return false;
        p += node.size;
        left -= node.size;
        pending += node.children - 1;
    }
    *value = (struct slice){from->at, from->len - left};
    *from = (struct slice){p, left};
    return true;
}

/* The text of an encoded string; absent when it is anything else. */
static struct slice slice_text(struct slice value)
{
    unsigned char b = value.at[0];
    size_t head = 0;

    if (b >= 0xa0 && b <= 0xbf)
        head = 1;
    else if (b >= 0xd9 && b <= 0xdb)
        head = 1 + ((size_t)1 << (b - 0xd9));
    return head ? (struct slice){value.at + head, value.len - head} : (struct slice){NULL, 0};
}

static bool slice_is(struct slice text, const char *word)
{
    return text.at && text.len == strlen(word) && !memcmp(text.at, word, text.len);
}

static bool map_open(struct slice *value, uint32_t *n)
{
    struct node node;
    unsigned char b;

    if (!value->len || !node_read(value->at, value->len, &node))
        return false;
    b = value->at[0];
    if ((b & 0xf0) != 0x80 && b != 0xde && b != 0xdf)
        return false;
    *n = (uint32_t)(node.children / 2);
    *value = (struct slice){value->at + node.size, value->len - node.size};
    return true;
}

static struct slice content_text(struct slice content)
{
    struct slice text = {NULL, 0};
    struct slice key, value;
    uint32_t n;

    if (!map_open(&content, &n))
        return text;
    while (n-- && slice_take(&content, &key) && slice_take(&content, &value))
        if (slice_is(slice_text(key), "message"))
            text = slice_text(value);
    return text;
}

static void message_note(struct message *message, struct slice key, struct slice value)
{
    if (slice_is(key, "messageType"))
        message->type = slice_text(value);
    else if (slice_is(key, "messageId"))
        message->message_id = value;
    else if (slice_is(key, "content"))
        message->text = content_text(value);
    else if (slice_is(key, "messageUId"))
        message->has_uid = true;
    else if (slice_is(key, "time"))
        message->has_time = true;
}

bool message_read(struct message *message, const void *bytes, size_t len)
{
    struct slice rest = {bytes, len};
    struct slice key, value;

    *message = (struct message){0};
    if (!map_open(&rest, &message->n_entries))
        return false;
    message->entries = rest;
    for (uint32_t i = 0; i < message->n_entries; i++) {
        if (!slice_take(&rest, &key) || !slice_take(&rest, &value))
            return false;
        message_note(message, slice_text(key), value);
    }
    return rest.len == 0;
}

bool message_has_type(const struct message *message, const char *type)
{
    return slice_is(message->type, type);
}

static void pack_text(msgpack_packer *pk, const char *text)
{
    msgpack_pack_str(pk, strlen(text));
    msgpack_pack_str_body(pk, text, strlen(text));
}

static void pack_pair(msgpack_packer *pk, const char *key, const char *text)
{
    pack_text(pk, key);
    pack_text(pk, text);
}

static void pack_number(msgpack_packer *pk, const char *key, int64_t number)
{
    pack_text(pk, key);
    msgpack_pack_int64(pk, number);
}

static void pack_slice(msgpack_packer *pk, struct slice slice)
{
    pk->callback(pk->data, (const char *)slice.at, slice.len);
}

/* Four groups of four hex digits, as upstream's examples show it; never twice in one run, hardly in two. */
static void pack_uid(msgpack_packer *pk)
{
    static uint64_t next;
    unsigned n[4];
    char uid[20];

    if (!next && getrandom(&next, sizeof(next), 0) < 0)
        next = (uint64_t)time(NULL) << 24;
    next++;
    for (int i = 0; i < 4; i++)
        n[i] = next >> (48 - 16 * i) & 0xffff;
    snprintf(uid, sizeof(uid), "%04X-%04X-%04X-%04X", n[0], n[1], n[2], n[3]);
    pack_text(pk, uid);
}

static void pack_now(msgpack_packer *pk)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    msgpack_pack_int64(pk, (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000);
}

static void pack_entry(msgpack_packer *pk, struct slice key, struct slice value)
{
    struct slice name = slice_text(key);

    pack_slice(pk, key);
    if (slice_is(name, "messageDirection"))
        msgpack_pack_int(pk, 2);
    else if (slice_is(name, "messageUId"))
        pack_uid(pk);
    else if (slice_is(name, "time"))
        pack_now(pk);
    else
        pack_slice(pk, value);
}

static void pack_echo_data(msgpack_packer *pk, const struct message *message)
{
    struct slice rest = message->entries;
    struct slice key, value;

    msgpack_pack_map(pk, (size_t)message->n_entries + !message->has_uid + !message->has_time);
    while (rest.len && slice_take(&rest, &key) && slice_take(&rest, &value))
        pack_entry(pk, key, value);
    if (!message->has_uid) {
        pack_text(pk, "messageUId");
        pack_uid(pk);
    }
    if (!message->has_time) {
        pack_text(pk, "time");
        pack_now(pk);
    }
}

static msgpack_packer packer_start(msgpack_sbuffer *out)
{
    msgpack_packer pk;

    msgpack_sbuffer_clear(out);
    msgpack_packer_init(&pk, out, msgpack_sbuffer_write);
    return pk;
}

void envelope_echo(msgpack_sbuffer *out, const struct message *message)
{
    msgpack_packer pk = packer_start(out);

    msgpack_pack_map(&pk, 3);
    pack_number(&pk, "code", 0);
    pack_text(&pk, "data");
    pack_echo_data(&pk, message);
    pack_pair(&pk, "errMsg", "success!");
}

void envelope_reject(msgpack_sbuffer *out, const struct message *message, int64_t code, const char *err_msg)
{
    msgpack_packer pk = packer_start(out);

    msgpack_pack_map(&pk, 3);
    pack_number(&pk, "code", code);
    pack_pair(&pk, "errMsg", err_msg);
    pack_text(&pk, "data");
    msgpack_pack_map(&pk, message->message_id.at ? 1 : 0);
    if (message->message_id.at) {
        pack_text(&pk, "messageId");
        pack_slice(&pk, message->message_id);
    }
}

void envelope_leave(msgpack_sbuffer *out)
{
    msgpack_packer pk = packer_start(out);

    msgpack_pack_map(&pk, 2);
    pack_pair(&pk, "errMsg", "close");
    pack_number(&pk, "code", 4);
}

static void pack_filler(msgpack_packer *pk, size_t size)
{
    static char block[4096];

    if (!block[0])
        memset(block, 'x', sizeof(block));
    msgpack_pack_str(pk, size);
    while (size) {
        size_t n = size < sizeof(block) ? size : sizeof(block);

        msgpack_pack_str_body(pk, block, n);
        size -= n;
    }
}

void envelope_load(msgpack_sbuffer *out, const char *from, int64_t n, size_t text_size)
{
    msgpack_packer pk = packer_start(out);

    msgpack_pack_map(&pk, 3);
    pack_number(&pk, "code", 0);
    pack_text(&pk, "data");
    msgpack_pack_map(&pk, n < 0 ? 5 : 6);
    pack_pair(&pk, "messageType", "TxtMsg");
    pack_number(&pk, "conversationType", 0);
    pack_pair(&pk, "from", from);
    pack_pair(&pk, "to", "x");
    if (n >= 0)
        pack_number(&pk, "n", n);
    pack_text(&pk, "content");
    msgpack_pack_map(&pk, 1);
    pack_text(&pk, "message");
    pack_filler(&pk, text_size);
    pack_pair(&pk, "errMsg", "success!");
}

static void pack_json(msgpack_packer *pk, json_t *value);

static void pack_json_object(msgpack_packer *pk, json_t *object)
{
    const char *key;
    json_t *value;

    msgpack_pack_map(pk, json_object_size(object));
    json_object_foreach(object, key, value)
    {
        pack_text(pk, key);
        pack_json(pk, value);
    }
}

static void pack_json_array(msgpack_packer *pk, json_t *array)
{
    json_t *value;
    size_t i;

    msgpack_pack_array(pk, json_array_size(array));
    json_array_foreach(array, i, value) pack_json(pk, value);
}

/* Recursive, but bounded: jansson itself reads no deeper than 2048. */
static void pack_json(msgpack_packer *pk, json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        pack_json_object(pk, value);
        break;
    case JSON_ARRAY:
        pack_json_array(pk, value);
        break;
    case JSON_STRING:
        msgpack_pack_str(pk, json_string_length(value));
        msgpack_pack_str_body(pk, json_string_value(value), json_string_length(value));
        break;
    case JSON_INTEGER:
        msgpack_pack_int64(pk, json_integer_value(value));
        break;
    case JSON_REAL:
        msgpack_pack_double(pk, json_real_value(value));
        break;
    case JSON_TRUE:
        msgpack_pack_true(pk);
        break;
    case JSON_FALSE:
        msgpack_pack_false(pk);
        break;
    case JSON_NULL:
        msgpack_pack_nil(pk);
        break;
    }
}

void envelope_json(msgpack_sbuffer *out, json_t *value)
{
    msgpack_packer pk = packer_start(out);

    pack_json(&pk, value);
}
