/*
 * The kinds of configuration values: a table of readers and writers, one row a kind. What they say about a
 * bad value follows the key's name in an error, and never holds a header's value, which may be a token.
 */
#include "config_kind.h"
#include "cleanup.h"
#include "headers.h"
#include "userdb.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#define LIST_MAX 256 /* entries; also keeps a hostile file from costing quadratic time */
#define SHOWN_MAX 60 /* a longer value is not repeated in an error */

static void *field(const struct config *c, const struct config_key *k)
{
    return (char *)c + k->at;
}

static int wrong(char why[CONFIG_WHY_MAX], const char *format, ...) __attribute__((format(printf, 2, 3)));
static int wrong(char why[CONFIG_WHY_MAX], const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(why, CONFIG_WHY_MAX, format, args);
    va_end(args);
    return -EINVAL;
}

/* The value as an error repeats it. */
static const char *shown(const char *text)
{
    return strlen(text) <= SHOWN_MAX ? text : "the value";
}

/* ---- Texts and lists ---- */

static void text_clear(struct config *c, const struct config_key *k)
{
    char **text = field(c, k);

    free(*text);
    *text = NULL;
}

static int text_replace(struct config *c, const struct config_key *k, const char *text)
{
    char *copy = strdup(text);

    if (!copy)
        return -ENOMEM;
    text_clear(c, k);
    *(char **)field(c, k) = copy;
    return 0;
}

/* What other INI readers would have taken off, and this one does not: nobody shall be told a lie about his
 * value. */
static int decoration_refused(const char *text, char why[CONFIG_WHY_MAX])
{
    if (*text == '"' || *text == '\'')
        return wrong(why, "write it without quotes");
    if (strstr(text, " #") || strstr(text, " ;") || strstr(text, "\t#") || strstr(text, "\t;"))
        return wrong(why, "a comment needs a line of its own");
    return 0;
}

static int text_set(struct config *c, const struct config_key *k, const char *text, char why[CONFIG_WHY_MAX])
{
    int r = decoration_refused(text, why);

    return r < 0 ? r : text_replace(c, k, text);
}

static void text_print(const struct config *c, const struct config_key *k, bool blank, FILE *to)
{
    const char *text = *(char **)field(c, k);

    fputs(text ? text : "", to);
}

static void list_clear(struct config *c, const struct config_key *k)
{
    const char ***list = field(c, k);

    for (const char **at = *list; at && *at; at++)
        free((char *)*at);
    free(*list);
    *list = NULL;
}

static int list_append(struct config *c, const struct config_key *k, const char *text, size_t len,
                       char why[CONFIG_WHY_MAX])
{
    const char ***list = field(c, k), **longer;
    size_t count = 0;

    while (*list && (*list)[count])
        count++;
    if (count == LIST_MAX)
        return wrong(why, "more than %d values", LIST_MAX);
    longer = realloc(*list, (count + 2) * sizeof(*longer));
    if (!longer)
        return -ENOMEM;
    *list = longer;
    longer[count + 1] = NULL;
    longer[count] = strndup(text, len);
    return longer[count] ? 0 : -ENOMEM;
}

/* The next word of a space-separated list, or NULL; *at moves behind it. */
static const char *next_word(const char **at, size_t *len)
{
    const char *word = *at + strspn(*at, " \t");

    *len = strcspn(word, " \t");
    *at = word + *len;
    return *len ? word : NULL;
}

static int words_set(struct config *c, const struct config_key *k, const char *text, char why[CONFIG_WHY_MAX])
{
    const char *word;
    size_t len;
    int r = decoration_refused(text, why);

    while (r == 0 && (word = next_word(&text, &len)))
        r = list_append(c, k, word, len, why);
    return r;
}

static void words_print(const struct config *c, const struct config_key *k, bool blank, FILE *to)
{
    const char **list = *(const char ***)field(c, k);

    for (size_t i = 0; list && list[i]; i++)
        fprintf(to, "%s%s", i ? " " : "", list[i]);
}

/* ---- Users and groups ---- */

static_assert(offsetof(struct config_access, words) == 0, "its words are a list like others");

static void access_clear(struct config *c, const struct config_key *k)
{
    struct config_access *a = field(c, k);

    list_clear(c, k);
    free(a->entries);
    *a = (struct config_access){0};
}

/* What has only digits is a number, and no name. -1 is nobody's: chown(2) means something else by it. */
static int id_read(const char *digits, const char *whose, id_t *id, char why[CONFIG_WHY_MAX])
{
    unsigned long long value = strlen(digits) > 10 ? UINT64_MAX : strtoull(digits, NULL, 10);

    if (value >= (id_t)-1)
        return wrong(why, "%.60s is not the number of a %s", digits, whose);
    *id = (id_t)value;
    return 0;
}

static int name_look_up(const char *name, bool is_group, id_t *id, char why[CONFIG_WHY_MAX])
{
    const char *whose = is_group ? "group" : "user";
    bool found = false;
    int r = is_group ? userdb_group(name, id, &found) : userdb_user(name, id, &found);

    if (r == -ENOMEM)
        return r;
    if (r < 0)
        return wrong(why, "%s %.60s cannot be looked up: %s", whose, name, strerror(-r));
    return found ? 0 : wrong(why, "there is no %s %.60s", whose, name);
}

static int access_read(const char *word, struct access_entry *e, char why[CONFIG_WHY_MAX])
{
    bool is_group = *word == '@';
    const char *name = word + is_group;

    *e = (struct access_entry){.kind = is_group ? ACCESS_GROUP : ACCESS_USER};
    if (strcmp(word, "*") == 0) {
        e->kind = ACCESS_EVERYBODY;
        return 0;
    }
    if (!*name)
        return wrong(why, "the name of a group is missing behind @");
    if (name[strspn(name, "0123456789")] == '\0')
        return id_read(name, is_group ? "group" : "user", &e->id, why);
    return name_look_up(name, is_group, &e->id, why);
}

static int access_append(struct config *c, const struct config_key *k, const char *word, size_t len,
                         char why[CONFIG_WHY_MAX])
{
    struct config_access *a = field(c, k);
    struct access_entry *longer;
    int r = list_append(c, k, word, len, why);

    if (r < 0)
        return r;
    longer = realloc(a->entries, (a->count + 1) * sizeof(*longer));
    if (!longer)
        return -ENOMEM;
    a->entries = longer;
    r = access_read(a->words[a->count], &longer[a->count], why);
    a->count += r == 0;
    return r;
}

static int access_set(struct config *c, const struct config_key *k, const char *text,
                      char why[CONFIG_WHY_MAX])
{
    const char *word;
    size_t len;
    int r = decoration_refused(text, why);

    while (r == 0 && (word = next_word(&text, &len)))
        r = access_append(c, k, word, len, why);
    return r;
}

/* ---- Headers ---- */

/* What all lines take in the request, each with its line end. */
static size_t headers_length(const char *const *list)
{
    size_t sum = 0;

    for (; list && *list; list++)
        sum += strlen(*list) + strlen("\r\n");
    return sum;
}

static int headers_set(struct config *c, const struct config_key *k, const char *text,
                       char why[CONFIG_WHY_MAX])
{
    const char *reason = "", **list = *(const char ***)field(c, k);

    if (header_check(text, strlen(text), &reason) < 0)
        return wrong(why, "%s", reason);
    if (headers_length(list) + strlen(text) + strlen("\r\n") > HEADERS_MAX)
        return wrong(why, "more than %u bytes of headers", HEADERS_MAX);
    return list_append(c, k, text, strlen(text), why);
}

static void headers_print(const struct config *c, const struct config_key *k, bool blank, FILE *to)
{
    const char **list = *(const char ***)field(c, k);

    for (size_t i = 0; list && list[i]; i++) {
        if (i)
            fprintf(to, "\n%s=", k->name);
        if (blank)
            fprintf(to, "%.*s: ***", (int)strcspn(list[i], ":"), list[i]);
        else
            fputs(list[i], to);
    }
}

/* ---- Files ---- */

/* systemd.exec(5), LoadCredential=: the folder is in the environment. Without it the value stays as it is, a
 * name. */
static int credential_set(struct config *c, const struct config_key *k, const char *text,
                          char why[CONFIG_WHY_MAX])
{
    const char *folder = getenv("CREDENTIALS_DIRECTORY"), *name = text + strlen(CONFIG_CREDENTIAL);
    _cleanup_(freep) char *path = NULL;

    if (!*name || *name == '.' || strchr(name, '/'))
        return wrong(why, "%s does not name a credential", shown(text));
    if (!folder || *folder != '/')
        return text_replace(c, k, text);
    if (asprintf(&path, "%s/%s", folder, name) < 0)
        return -ENOMEM;
    return text_replace(c, k, path);
}

static int file_set(struct config *c, const struct config_key *k, const char *text, char why[CONFIG_WHY_MAX])
{
    if (strncmp(text, CONFIG_CREDENTIAL, strlen(CONFIG_CREDENTIAL)) == 0)
        return credential_set(c, k, text, why);
    if (*text != '/')
        return wrong(why, "%s is not an absolute path", shown(text));
    return text_replace(c, k, text);
}

/* ---- Addresses ---- */

static int url_set(struct config *c, const struct config_key *k, const char *text, char why[CONFIG_WHY_MAX])
{
    const char *reason = "";

    if (url_parse(&c->url, text, &reason) < 0)
        return wrong(why, "%s", reason);
    return text_replace(c, k, text);
}

static void url_print(const struct config *c, const struct config_key *k, bool blank, FILE *to)
{
    /* Every character of a query can become `***`. */
    char out[3 * (URL_PATH_MAX + URL_HOST_MAX) + 64];

    if (!c->url_text)
        return;
    url_blank(c->url_text, out, sizeof(out));
    fputs(blank ? out : c->url_text, to);
}

static int proxy_set(struct config *c, const struct config_key *k, const char *text, char why[CONFIG_WHY_MAX])
{
    const char *reason = "";

    if (url_parse_proxy(text, c->proxy_host, &c->proxy_port, &reason) < 0)
        return wrong(why, "%s", reason);
    c->has_proxy = true;
    return 0;
}

static void proxy_print(const struct config *c, const struct config_key *k, bool blank, FILE *to)
{
    bool v6 = strchr(c->proxy_host, ':') != NULL;

    if (c->has_proxy)
        fprintf(to, "%s%s%s:%u", v6 ? "[" : "", c->proxy_host, v6 ? "]" : "", c->proxy_port);
}

/* ---- Close codes ---- */

static void codes_clear(struct config *c, const struct config_key *k)
{
    free(c->no_reconnect_codes);
    c->no_reconnect_codes = NULL;
    c->no_reconnect_count = 0;
}

static int code_append(struct config *c, const struct config_key *k, unsigned code, char why[CONFIG_WHY_MAX])
{
    uint16_t *longer;

    if (code < k->least || code > k->most)
        return wrong(why, "%u is not a close code, %" PRIu64 " to %" PRIu64, code, k->least, k->most);
    /* RFC 6455, 7.4.1: only programs tell them to themselves. */
    if (code == 1005 || code == 1006 || code == 1015)
        return wrong(why, "%u is never sent by a server", code);
    if (c->no_reconnect_count == LIST_MAX)
        return wrong(why, "more than %d values", LIST_MAX);
    longer = realloc(c->no_reconnect_codes, (c->no_reconnect_count + 1) * sizeof(*longer));
    if (!longer)
        return -ENOMEM;
    c->no_reconnect_codes = longer;
    longer[c->no_reconnect_count++] = (uint16_t)code;
    return 0;
}

static int codes_set(struct config *c, const struct config_key *k, const char *text, char why[CONFIG_WHY_MAX])
{
    const char *word;
    size_t len;
    int r = 0;

    while (r == 0 && (word = next_word(&text, &len))) {
        if (strspn(word, "0123456789") != len || len > 5)
            r = wrong(why, "%.*s is not a close code, 1000 to 4999", len > 20 ? 20 : (int)len, word);
        else
            r = code_append(c, k, (unsigned)strtoul(word, NULL, 10), why);
    }
    return r;
}

static void codes_print(const struct config *c, const struct config_key *k, bool blank, FILE *to)
{
    for (size_t i = 0; i < c->no_reconnect_count; i++)
        fprintf(to, "%s%u", i ? " " : "", c->no_reconnect_codes[i]);
}

/* ---- Amounts: time spans, sizes, counts ---- */

struct unit {
    const char *word;
    uint64_t factor;
};

/* The largest first: the printer takes the first that divides. "" is what a bare number means. */
static const struct unit span_units[] = {{"d", 86400000}, {"h", 3600000}, {"min", 60000},
                                         {"s", 1000},     {"ms", 1},      {"m", 60000},
                                         {"sec", 1000},   {"", 1000},     {NULL, 0}};
static const struct unit size_units[] = {
    {"G", 1u << 30}, {"M", 1u << 20}, {"K", 1u << 10}, {"", 1}, {NULL, 0}};
static const struct unit count_units[] = {{"", 1}, {NULL, 0}};

static const struct unit *unit_find(const struct unit *units, const char *word, size_t len)
{
    for (const struct unit *u = units; u->word; u++)
        if (strlen(u->word) == len && memcmp(u->word, word, len) == 0)
            return u;
    return NULL;
}

/* Digits; more than 64 bits stay at UINT64_MAX. NULL: there are none. */
static const char *number_read(const char *at, uint64_t *value)
{
    *value = 0;
    if (!isdigit((unsigned char)*at))
        return NULL;
    for (; isdigit((unsigned char)*at); at++)
        if (__builtin_mul_overflow(*value, 10, value) ||
            __builtin_add_overflow(*value, (uint64_t)(*at - '0'), value))
            *value = UINT64_MAX / 10; /* overflows again with the next digit, and is far above any range */
    return at;
}

/* `NUMBER UNIT` once or, when `sums`, several times. false: that is not what the text is. */
static bool amount_read(const char *text, const struct unit *units, bool sums, uint64_t *sum)
{
    unsigned terms = 0;

    for (*sum = 0; *text; terms++) {
        const struct unit *u;
        uint64_t value, product;
        size_t len;

        text = number_read(text, &value);
        if (!text)
            return false;
        text += strspn(text, " \t");
        len = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
        u = unit_find(units, text, len);
        text += len;
        /* A bare number has no company: in "1min 30" it is anybody's guess. */
        if (!u || (terms && !sums) || (len == 0 && (terms || *text)))
            return false;
        if (__builtin_mul_overflow(value, u->factor, &product) || __builtin_add_overflow(*sum, product, sum))
            *sum = UINT64_MAX / 2;
        text += strspn(text, " \t");
    }
    return terms > 0;
}

static int amount_set(const struct config_key *k, const char *text, const struct unit *units, bool sums,
                      uint64_t *value, char why[CONFIG_WHY_MAX])
{
    char bound[CONFIG_AMOUNT_MAX];

    if (!amount_read(text, units, sums, value))
        return wrong(why, "%s is not a %s, such as %s", shown(text), k->kind->word, k->kind->notation);
    if (*value < k->least)
        return wrong(why, "%s is less than %s", shown(text), config_amount_text(k, k->least, bound));
    if (*value > k->most)
        return wrong(why, "%s is more than %s", shown(text), config_amount_text(k, k->most, bound));
    return 0;
}

static int span_set(struct config *c, const struct config_key *k, const char *text, char why[CONFIG_WHY_MAX])
{
    uint64_t value;
    int r = amount_set(k, text, span_units, true, &value, why);

    if (r == 0)
        *(uint64_t *)field(c, k) = value;
    return r;
}

static int size_set(struct config *c, const struct config_key *k, const char *text, char why[CONFIG_WHY_MAX])
{
    uint64_t value;
    int r = amount_set(k, text, size_units, false, &value, why);

    if (r == 0)
        *(size_t *)field(c, k) = (size_t)value;
    return r;
}

static int count_set(struct config *c, const struct config_key *k, const char *text, char why[CONFIG_WHY_MAX])
{
    uint64_t value;
    int r = amount_set(k, text, count_units, false, &value, why);

    if (r == 0)
        *(unsigned *)field(c, k) = (unsigned)value;
    return r;
}

const char *config_span_text(uint64_t ms, char out[CONFIG_AMOUNT_MAX])
{
    size_t at = 0;

    strcpy(out, "0");
    for (const struct unit *u = span_units; ms && u->word; u++)
        if (ms >= u->factor) {
            at += (size_t)snprintf(out + at, CONFIG_AMOUNT_MAX - at, "%s%" PRIu64 "%s", at ? " " : "",
                                   ms / u->factor, u->word);
            ms %= u->factor;
        }
    return out;
}

const char *config_size_text(uint64_t bytes, char out[CONFIG_AMOUNT_MAX])
{
    const struct unit *u = size_units;

    while (bytes % u->factor || bytes < u->factor)
        if (u->factor == 1)
            break;
        else
            u++;
    snprintf(out, CONFIG_AMOUNT_MAX, "%" PRIu64 "%s", bytes / u->factor, u->word);
    return out;
}

const char *config_amount_text(const struct config_key *k, uint64_t amount, char out[CONFIG_AMOUNT_MAX])
{
    if (k->kind == &config_kinds[CONFIG_KIND_SPAN])
        return config_span_text(amount, out);
    if (k->kind == &config_kinds[CONFIG_KIND_SIZE])
        return config_size_text(amount, out);
    snprintf(out, CONFIG_AMOUNT_MAX, "%" PRIu64, amount);
    return out;
}

static void span_print(const struct config *c, const struct config_key *k, bool blank, FILE *to)
{
    char text[CONFIG_AMOUNT_MAX];

    fputs(config_span_text(*(uint64_t *)field(c, k), text), to);
}

static void size_print(const struct config *c, const struct config_key *k, bool blank, FILE *to)
{
    char text[CONFIG_AMOUNT_MAX];

    fputs(config_size_text(*(size_t *)field(c, k), text), to);
}

static void count_print(const struct config *c, const struct config_key *k, bool blank, FILE *to)
{
    fprintf(to, "%u", *(unsigned *)field(c, k));
}

/* ---- Switches ---- */

static int switch_set(struct config *c, const struct config_key *k, const char *text,
                      char why[CONFIG_WHY_MAX])
{
    bool on = strcmp(text, "yes") == 0;

    if (!on && strcmp(text, "no") != 0)
        return wrong(why, "%s is neither yes nor no", shown(text));
    *(bool *)field(c, k) = on;
    return 0;
}

static void switch_print(const struct config *c, const struct config_key *k, bool blank, FILE *to)
{
    fputs(*(bool *)field(c, k) ? "yes" : "no", to);
}

const struct config_kind config_kinds[CONFIG_KIND_COUNT] = {
    [CONFIG_KIND_URL] = {"URL", "wss://im.example.org/chat", false, 0, url_set, url_print, text_clear},
    [CONFIG_KIND_PROXY] = {"proxy", "proxy.example.org:3128", false, 0, proxy_set, proxy_print, NULL},
    [CONFIG_KIND_TEXT] = {"text", "alice", false, 0, text_set, text_print, text_clear},
    [CONFIG_KIND_WORDS] = {"list of words", "quit kicked", true, 0, words_set, words_print, list_clear},
    [CONFIG_KIND_ACCESS] = {"list of users", "alice @staff 1000", true, 0, access_set, words_print,
                            access_clear},
    [CONFIG_KIND_HEADERS] = {"header", "X-Client: imd", true, 0, headers_set, headers_print, list_clear},
    [CONFIG_KIND_CODES] = {"list of close codes", "4001 4003", true, 0, codes_set, codes_print, codes_clear},
    [CONFIG_KIND_FILE] = {"file", "/etc/imd/token", false, 0, file_set, text_print, text_clear},
    [CONFIG_KIND_SPAN] = {"time span", "500ms, 6s, 5min or 1min 30s", false, sizeof(uint64_t), span_set,
                          span_print, NULL},
    [CONFIG_KIND_SIZE] = {"size", "4096, 64K, 8M or 1G", false, sizeof(size_t), size_set, size_print, NULL},
    [CONFIG_KIND_NUMBER] = {"number", "4096", false, sizeof(unsigned), count_set, count_print, NULL},
    [CONFIG_KIND_SWITCH] = {"yes or no", "yes", false, sizeof(bool), switch_set, switch_print, NULL},
};
