/*
 * One buffer of fixed size, so that no copy of a token stays behind in memory that realloc has left. The file
 * is read on the loop: it is small and regular (a FIFO would hang), checked on the open descriptor.
 */
#include "headers.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define TOKEN_MARKS "!#$%&'*+-.^_`|~"
#define WEBSOCKET_PREFIX "sec-websocket-"

/* The handshake writes these itself; a second one could change what it means. */
static const char *const reserved[] = {"host", "upgrade", "connection", "content-length",
                                       "transfer-encoding"};

static bool is_reserved(const char *name, size_t len)
{
    if (len >= strlen(WEBSOCKET_PREFIX) && strncasecmp(name, WEBSOCKET_PREFIX, strlen(WEBSOCKET_PREFIX)) == 0)
        return true;
    for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++)
        if (strlen(reserved[i]) == len && strncasecmp(name, reserved[i], len) == 0)
            return true;
    return false;
}

static bool is_token(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)s[i]) && (s[i] == '\0' || !strchr(TOKEN_MARKS, s[i])))
            return false;
    return len > 0;
}

static bool has_controls(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (((unsigned char)s[i] < 0x20 && s[i] != '\t') || s[i] == 0x7f)
            return true;
    return false;
}

int header_check(const char *line, size_t len, const char **why)
{
    const char *colon = memchr(line, ':', len);
    size_t name = colon ? (size_t)(colon - line) : 0;

    if (!colon || !is_token(line, name))
        *why = "not a header line (Name: value)";
    else if (has_controls(colon, len - name))
        *why = "a control character in a header";
    else if (is_reserved(line, name))
        *why = "this header belongs to the websocket handshake";
    else
        return 0;
    return -EINVAL;
}

static int add_line(struct headers *h, const char *line, size_t len, const char **why)
{
    int r = header_check(line, len, why);

    if (r < 0)
        return r;
    if (h->len + len + 2 > HEADERS_MAX) {
        *why = "too many headers";
        return -E2BIG;
    }
    if (strncasecmp(line, "user-agent:", strlen("user-agent:")) == 0)
        h->has_user_agent = true;
    memcpy(h->text + h->len, line, len);
    memcpy(h->text + h->len + len, "\r\n", 2);
    h->len += len + 2;
    return 0;
}

static int add_file_text(struct headers *h, const char *text, size_t len, const char **why)
{
    for (const char *end = text + len; text < end;) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        const char *line_end = newline ? newline : end;
        size_t n = (size_t)(line_end - text);
        if (n > 0 && text[n - 1] == '\r')
            n--;
        int r = n == 0 || *text == '#' ? 0 : add_line(h, text, n, why);
        if (r < 0)
            return r;
        text = newline ? newline + 1 : end;
    }
    return 0;
}

/* How many bytes were read, or a negative errno. */
static ssize_t read_small(const char *file, char *text, size_t size, const char **why)
{
    struct stat st;
    ssize_t n = -1;
    int fd = open(file, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);

    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) < 0)
        n = -errno;
    else if (!S_ISREG(st.st_mode))
        n = -EINVAL, *why = "not a regular file";
    else if ((n = read(fd, text, size)) < 0)
        n = -errno;
    else if ((size_t)n == size)
        n = -E2BIG, *why = "the file is too large";
    close(fd);
    return n;
}

static int add_file(struct headers *h, const char *file, const char **why)
{
    char text[HEADERS_MAX + 1];
    ssize_t n = read_small(file, text, sizeof(text), why);
    int r = n < 0 ? (int)n : add_file_text(h, text, (size_t)n, why);

    explicit_bzero(text, sizeof(text));
    return r;
}

static int describe(int r, const char *file, const char *why, char *detail, size_t size)
{
    const char *what = why ? why : strerror(-r);

    if (file)
        snprintf(detail, size, "%s: %s", file, what);
    else
        snprintf(detail, size, "%s", what);
    return r;
}

int headers_read(struct headers *h, const char *const *lines, const char *file, char *detail, size_t size)
{
    const char *why = NULL;
    int r = 0;

    *h = (struct headers){.text = malloc(HEADERS_MAX)};
    if (!h->text)
        return describe(-ENOMEM, NULL, NULL, detail, size);
    for (; r == 0 && lines && *lines; lines++)
        r = add_line(h, *lines, strlen(*lines), &why);
    if (r < 0)
        describe(r, NULL, why, detail, size);
    else if (file && (r = add_file(h, file, &why)) < 0)
        describe(r, file, why, detail, size);
    if (r < 0)
        headers_deinit(h);
    return r;
}

void headers_deinit(struct headers *h)
{
    if (h->text)
        explicit_bzero(h->text, HEADERS_MAX);
    free(h->text);
    *h = (struct headers){0};
}
