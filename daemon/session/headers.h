/*
 * The extra header lines of the upgrade request, `Name: value` each, from the configuration and from a file
 * that may be renewed while we run. They carry tokens: they are never logged, and wiped when they are no
 * longer needed.
 */
#ifndef IMD_HEADERS_H
#define IMD_HEADERS_H

#include <stdbool.h>
#include <stddef.h>

#define HEADERS_MAX (16u << 10) /* bytes of a header file, and of all lines together */

struct headers {
    char *text; /* complete lines, each with CR LF; what goes into the request */
    size_t len;
    bool has_user_agent;
};

/*
 * 0, or -EINVAL with *why (static): a name of RFC 9110 token characters, `:`, a value without control
 * characters; not a header that the websocket handshake itself writes.
 */
int header_check(const char *line, size_t len, const char **why);

/*
 * Takes the lines, then those of the file (NULL: none); blank lines and those that begin with # are skipped.
 * 0 or a negative errno with a sentence in `detail` that contains no value; then h is empty. The file must be
 * a regular one.
 */
int headers_read(struct headers *h, const char *const *lines, const char *file, char *detail, size_t size);
void headers_deinit(struct headers *h); /* wipes them */

#endif
