/*
 * The configuration: lines from the INI reader are looked up in the table of keys, read by the key's kind
 * into struct config, and then checked against each other. The first mistake ends it; nothing is guessed.
 */
#include "config.h"
#include "config_kind.h"
#include "cleanup.h"
#include "ini.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#define CONFIG_KEY_ROW(id, section_, name_, kind_, field_, standard_, least_, most_, when_, sentence_) \
    [CONFIG_##id] = {.section = section_,                                                              \
                     .name = name_,                                                                    \
                     .kind = &config_kinds[CONFIG_KIND_##kind_],                                       \
                     .at = offsetof(struct config, field_),                                            \
                     .standard = standard_,                                                            \
                     .least = least_,                                                                  \
                     .most = most_,                                                                    \
                     .when = CONFIG_##when_,                                                           \
                     .sentence = sentence_},
const struct config_key config_keys[CONFIG_KEY_COUNT] = {CONFIG_KEYS(CONFIG_KEY_ROW)};
#undef CONFIG_KEY_ROW

/* A file that is being read. */
struct loading {
    struct config *config;
    const char *path;
    char *error;
    size_t error_size;
    bool outside; /* credentials cannot be there */
};

static int fail(struct loading *l, unsigned line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static int fail(struct loading *l, unsigned line, const char *format, ...)
{
    char what[512];
    va_list args;

    va_start(args, format);
    vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    if (line)
        snprintf(l->error, l->error_size, "%s:%u: %s", l->path, line, what);
    else
        snprintf(l->error, l->error_size, "%s: %s", l->path, what);
    return -EINVAL;
}

static int out_of_memory(struct loading *l)
{
    fail(l, 0, "out of memory");
    return -ENOMEM;
}

/* ---- Words that are not in the table ---- */

#define WORD_MAX 64

/* Edit distance without regard to case (Levenshtein); words longer than WORD_MAX are far from all. */
static size_t distance(const char *a, const char *b)
{
    size_t row[WORD_MAX + 1], n = strlen(b);

    if (strlen(a) > WORD_MAX || n > WORD_MAX)
        return SIZE_MAX;
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0]++;

        for (size_t j = 0; j < n; j++) {
            bool same = tolower((unsigned char)a[i]) == tolower((unsigned char)b[j]);
            size_t best = diagonal + (same ? 0 : 1);

            diagonal = row[j + 1];
            if (diagonal + 1 < best)
                best = diagonal + 1;
            if (row[j] + 1 < best)
                best = row[j] + 1;
            row[j + 1] = best;
        }
    }
    return row[n];
}

/*
 * The key whose section (or, given a section, whose name in it) is nearest to the word; NULL: none is near.
 */
static const struct config_key *nearest(const char *section, const char *word)
{
    const struct config_key *best = NULL;
    size_t least = strlen(word) / 3 + 2; /* one slip in a short word, more in a long one */

    for (const struct config_key *k = config_keys; k < config_keys + CONFIG_KEY_COUNT; k++) {
        size_t d = distance(word, section ? k->name : k->section);

        if ((!section || strcmp(section, k->section) == 0) && d < least) {
            least = d;
            best = k;
        }
    }
    return best;
}

static bool section_known(const char *section)
{
    for (const struct config_key *k = config_keys; k < config_keys + CONFIG_KEY_COUNT; k++)
        if (strcmp(k->section, section) == 0)
            return true;
    return false;
}

static int section_check(struct loading *l, const struct ini *at)
{
    const struct config_key *k;

    if (section_known(at->section))
        return 0;
    if (strlen(at->section) > WORD_MAX)
        return fail(l, at->line, "unknown section");
    k = nearest(NULL, at->section);
    if (k)
        return fail(l, at->line, "unknown section [%s]; did you mean [%s]?", at->section, k->section);
    return fail(l, at->line, "unknown section [%s]", at->section);
}

static int key_unknown(struct loading *l, const struct ini *at)
{
    const struct config_key *k;

    if (strlen(at->key) > WORD_MAX)
        return fail(l, at->line, "unknown key in [%s]", at->section);
    for (k = config_keys; k < config_keys + CONFIG_KEY_COUNT; k++)
        if (strcmp(k->name, at->key) == 0)
            return fail(l, at->line, "unknown key %s in [%s]; it belongs in [%s]", at->key, at->section,
                        k->section);
    k = nearest(at->section, at->key);
    if (k)
        return fail(l, at->line, "unknown key %s in [%s]; did you mean %s?", at->key, at->section, k->name);
    return fail(l, at->line, "unknown key %s in [%s]", at->key, at->section);
}

/* ---- Lines ---- */

static const struct config_key *key_find(const char *section, const char *name)
{
    for (const struct config_key *k = config_keys; k < config_keys + CONFIG_KEY_COUNT; k++)
        if (strcmp(k->section, section) == 0 && strcmp(k->name, name) == 0)
            return k;
    return NULL;
}

static int value_set(struct loading *l, const struct config_key *k, const char *text, unsigned line)
{
    char why[CONFIG_WHY_MAX] = "";
    int r = k->kind->set(l->config, k, text, why);

    if (r == -ENOMEM)
        return out_of_memory(l);
    return r < 0 ? fail(l, line, "%s: %s", k->name, why) : 0;
}

static int entry_read(struct loading *l, const struct ini *at)
{
    const struct config_key *k = key_find(at->section, at->key);
    unsigned *line;

    if (!*at->section)
        return fail(l, at->line, "a key before the first [Section]");
    if (!k)
        return key_unknown(l, at);
    line = &l->config->line[k - config_keys];
    if (*line && !k->kind->repeats)
        return fail(l, at->line, "%s was already given in line %u", k->name, *line);
    if (!*at->value)
        return fail(l, at->line, "%s has no value", k->name);
    if (!*line && k->kind->repeats)
        k->kind->clear(l->config, k); /* its default: what is given does not add to that */
    *line = at->line;
    return value_set(l, k, at->value, at->line);
}

static int lines_read(struct loading *l, struct ini *at)
{
    int r = 0;

    while (r == 0) {
        switch (ini_next(at)) {
        case INI_END:
            return 0;
        case INI_SECTION:
            r = section_check(l, at);
            break;
        case INI_ENTRY:
            r = entry_read(l, at);
            break;
        case INI_BAD:
            r = fail(l, at->line, "%s", at->why);
            break;
        }
    }
    return r;
}

static int defaults_set(struct loading *l)
{
    int r = 0;

    for (int id = 0; r == 0 && id < CONFIG_KEY_COUNT; id++)
        /* PingTimeout's default depends on another key: see all_check. */
        if (*config_keys[id].standard && id != CONFIG_PING_TIMEOUT)
            r = value_set(l, &config_keys[id], config_keys[id].standard, 0);
    return r;
}

/* ---- Checks across keys ---- */

static unsigned later_line(const struct config *c, enum config_key_id a, enum config_key_id b)
{
    return c->line[a] > c->line[b] ? c->line[a] : c->line[b];
}

static int reconnect_check(struct loading *l)
{
    struct config *c = l->config;
    char least[CONFIG_AMOUNT_MAX], most[CONFIG_AMOUNT_MAX];

    if (c->reconnect_min_ms <= c->reconnect_max_ms)
        return 0;
    return fail(l, later_line(c, CONFIG_RECONNECT_MIN, CONFIG_RECONNECT_MAX),
                "ReconnectMin (%s) is longer than ReconnectMax (%s)",
                config_span_text(c->reconnect_min_ms, least), config_span_text(c->reconnect_max_ms, most));
}

static int certificate_check(struct loading *l)
{
    const struct config *c = l->config;

    if (c->cert_file && !c->key_file)
        return fail(l, c->line[CONFIG_CERT_FILE], "CertFile needs KeyFile");
    if (c->key_file && !c->cert_file)
        return fail(l, c->line[CONFIG_KEY_FILE], "KeyFile needs CertFile");
    return 0;
}

static int credential_check(struct loading *l, const char *key, const char *value, unsigned line)
{
    if (l->outside)
        return 0;
    return fail(l, line, "%s: %.256s: imd was not started with credentials", key, value);
}

static int file_check(struct loading *l, const char *name, const char *path, unsigned line)
{
    _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return fail(l, line, "%s: %.256s cannot be read: %s", name, path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return fail(l, line, "%s: %.256s is not a regular file", name, path);
    return 0;
}

static int file_key_check(struct loading *l, enum config_key_id id, unsigned line)
{
    const struct config_key *k = &config_keys[id];
    const char *value = *(char **)((char *)l->config + k->at);

    if (*value == '/')
        return file_check(l, k->name, value, line);
    return credential_check(l, k->name, value, line);
}

/* What was named must be there; the default CA file only where something is checked against it. */
static int files_check(struct loading *l)
{
    const struct config *c = l->config;
    int r = 0;

    for (int id = 0; r == 0 && id < CONFIG_KEY_COUNT; id++)
        if (config_keys[id].kind == &config_kinds[CONFIG_KIND_FILE] && c->line[id])
            r = file_key_check(l, (enum config_key_id)id, c->line[id]);
    if (r == 0 && c->url.tls && !c->line[CONFIG_CA_FILE])
        r = file_key_check(l, CONFIG_CA_FILE, c->line[CONFIG_URL]);
    return r;
}

static void ring_round(struct config *c)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    c->ring_size = (c->ring_size + page - 1) / page * page;
}

static int all_check(struct loading *l)
{
    int r;

    if (!l->config->line[CONFIG_URL])
        return fail(l, 0, "Url is missing in [Session]");
    if (!l->config->line[CONFIG_PING_TIMEOUT])
        l->config->ping_timeout_ms = 2 * l->config->ping_gap_ms;
    r = reconnect_check(l);
    if (r == 0)
        r = certificate_check(l);
    if (r == 0)
        r = files_check(l);
    ring_round(l->config);
    return r;
}

/* ---- Interface ---- */

DEFINE_CLEANUP(struct config *, config_free)

static int load(struct config **out, struct loading *l)
{
    _cleanup_(config_freep) struct config *c = calloc(1, sizeof(*c));
    _cleanup_(freep) char *text = NULL;
    const char *why = "";
    struct ini at;
    size_t len;
    int r;

    if (!c)
        return out_of_memory(l);
    r = ini_file_read(l->path, &text, &len, &why);
    if (r < 0) {
        fail(l, 0, "cannot be read: %s", why);
        return r;
    }
    l->config = c;
    ini_init(&at, text, len);
    r = defaults_set(l);
    if (r == 0)
        r = lines_read(l, &at);
    if (r == 0)
        r = all_check(l);
    if (r < 0)
        return r;
    *out = c;
    c = NULL;
    return 0;
}

int config_load(struct config **out, const char *path, char *error, size_t n)
{
    struct loading l = {.path = path, .error = error, .error_size = n};

    return load(out, &l);
}

int config_load_outside(struct config **out, const char *path, char *error, size_t n)
{
    struct loading l = {.path = path, .error = error, .error_size = n, .outside = true};

    return load(out, &l);
}

void config_free(struct config *c)
{
    if (!c)
        return;
    for (const struct config_key *k = config_keys; k < config_keys + CONFIG_KEY_COUNT; k++)
        if (k->kind->clear)
            k->kind->clear(c, k);
    free(c);
}

/* The value of a key as text, secrets included; NULL: no memory. */
static char *value_text(const struct config *c, const struct config_key *k)
{
    char *text = NULL;
    size_t len;
    FILE *to = open_memstream(&text, &len);

    if (!to)
        return NULL;
    k->kind->print(c, k, false, to);
    if (fclose(to) == 0)
        return text;
    free(text);
    return NULL;
}

static bool value_differs(const struct config *a, const struct config *b, const struct config_key *k)
{
    _cleanup_(freep) char *x = value_text(a, k);
    _cleanup_(freep) char *y = value_text(b, k);

    return !x || !y || strcmp(x, y) != 0;
}

size_t config_changed(const struct config *now, const struct config *next, enum config_when when, char *out,
                      size_t n)
{
    size_t count = 0, at = 0;

    if (n)
        *out = '\0';
    for (const struct config_key *k = config_keys; k < config_keys + CONFIG_KEY_COUNT; k++)
        if (k->when == when && value_differs(now, next, k)) {
            if (at < n)
                at += (size_t)snprintf(out + at, n - at, "%s%s", count ? ", " : "", k->name);
            count++;
        }
    return count;
}

void config_keep_start(struct config *next, const struct config *now)
{
    for (const struct config_key *k = config_keys; k < config_keys + CONFIG_KEY_COUNT; k++)
        if (k->when == CONFIG_START) {
            assert(k->kind->plain); /* a pointer would get two owners */
            memcpy((char *)next + k->at, (const char *)now + k->at, k->kind->plain);
        }
}

void config_print(const struct config *c, FILE *to)
{
    const char *section = "";

    for (const struct config_key *k = config_keys; k < config_keys + CONFIG_KEY_COUNT; k++) {
        if (strcmp(section, k->section) != 0)
            fprintf(to, "%s[%s]\n", *section ? "\n" : "", k->section);
        section = k->section;
        fprintf(to, "%s%s=", c->line[k - config_keys] ? "" : "#", k->name);
        k->kind->print(c, k, true, to);
        fputc('\n', to);
    }
}
