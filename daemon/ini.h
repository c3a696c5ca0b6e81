/*
 * A strict reader for systemd-style INI text: `[Section]` lines, `Key=value` lines, comment lines. Pure; in
 * place.
 *
 * There is no library here on purpose. inih is built with a line limit of 200 bytes, and what is longer (a
 * URL with a token, a header) is cut without a word; it also cuts values at " ;", accepts what follows a `]`,
 * and tells no line numbers. All of that is fixed when the library is compiled, so no program can change it.
 *
 * The rules: a comment is a line whose first character is `#` or `;`; a value goes to the end of its line,
 * spaces around it removed, and has no comments, quotes, escapes or continuation lines; the text is UTF-8,
 * without control characters but for tabs, line ends are LF or CRLF, a byte order mark at the start is
 * skipped.
 */
#ifndef IMD_INI_H
#define IMD_INI_H

#include <stddef.h>

#define INI_FILE_MAX (1u << 20) /* bytes; no configuration comes near it */

enum ini_result {
    INI_END,     /* of the text */
    INI_SECTION, /* a section line: section is set */
    INI_ENTRY,   /* section, key and value are set */
    INI_BAD      /* the line cannot be read: why says what is wrong */
};

struct ini {
    char *at, *end;
    unsigned line;       /* of the last result; the first is 1 */
    const char *section; /* "" before the first section line */
    const char *key, *value;
    const char *why; /* static */
};

/* text[len] must be '\0'; the text is changed, and the strings given out are places in it. */
void ini_init(struct ini *i, char *text, size_t len);
enum ini_result ini_next(struct ini *i);

/*
 * Reads a whole configuration file; *text is the caller's to free and ends with '\0' behind *len. Only a
 * regular file of at most INI_FILE_MAX bytes is read, so that neither a FIFO nor a device holds anybody up.
 * 0; negative errno: it cannot be read, and *why (static, or of strerror) says why in a few words.
 */
int ini_file_read(const char *path, char **text, size_t *len, const char **why);

#endif
