/* The kinds of values that a configuration key can have: how each is read, checked and written. */
#ifndef IMD_CONFIG_KIND_H
#define IMD_CONFIG_KIND_H

#include "config.h"

#define CONFIG_WHY_MAX 256
#define CONFIG_CREDENTIAL "credential:" /* before its name, where a file is named */

struct config_kind {
    const char *word;     /* for people: "time span", "size", … */
    const char *notation; /* how it is written; for imd.conf(5) */
    bool repeats;         /* the key may be given several times; each adds to the list */
    size_t plain;         /* size of the field when it is a plain value, which can be copied; else 0 */
    /*
     * Reads text (not empty) into the key's field. 0; -EINVAL with why: what is wrong, to follow the key's
     * name; -ENOMEM.
     */
    int (*set)(struct config *c, const struct config_key *k, const char *text, char why[CONFIG_WHY_MAX]);
    /* Writes the value as in the file, without `Key=` and line end; blank: secrets as ***. */
    void (*print)(const struct config *c, const struct config_key *k, bool blank, FILE *to);
    void (*clear)(struct config *c, const struct config_key *k); /* NULL: nothing to free */
};

#define CONFIG_KINDS(X) \
    X(URL) X(PROXY) X(TEXT) X(WORDS) X(ACCESS) X(HEADERS) X(CODES) X(FILE) X(SPAN) X(SIZE) X(NUMBER) X(SWITCH)

#define CONFIG_KIND_ID(id) CONFIG_KIND_##id,
enum config_kind_id { CONFIG_KINDS(CONFIG_KIND_ID) CONFIG_KIND_COUNT };
#undef CONFIG_KIND_ID

extern const struct config_kind config_kinds[CONFIG_KIND_COUNT];

/* `1min 30s`, `500ms`; `8M`, `4097`: the shortest exact form. Returns out. */
#define CONFIG_AMOUNT_MAX 48
const char *config_span_text(uint64_t ms, char out[CONFIG_AMOUNT_MAX]);
const char *config_size_text(uint64_t bytes, char out[CONFIG_AMOUNT_MAX]);
/* An amount of this key's kind: a bound of its range, for example. */
const char *config_amount_text(const struct config_key *k, uint64_t amount, char out[CONFIG_AMOUNT_MAX]);

#endif
