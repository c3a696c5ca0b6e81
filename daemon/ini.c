/* The INI reader: one line a step, cut into pieces where it lies. Its rules and its reason are in ini.h. */
#include "ini.h"
#include "cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

void ini_init(struct ini *i, char *text, size_t len)
{
    static const char byte_order_mark[] = "\xEF\xBB\xBF";
    size_t skip = len >= 3 && memcmp(text, byte_order_mark, 3) == 0 ? 3 : 0;

    *i = (struct ini){.at = text + skip, .end = text + len, .section = "", .why = ""};
}

/* The bytes of a well-formed UTF-8 sequence at s (RFC 3629), 0 if there is none. */
static size_t utf8_length(const unsigned char *s, size_t left)
{
    unsigned char low = 0x80, high = 0xBF;
    size_t n;

    if (s[0] < 0x80)
        return 1;
    if (s[0] < 0xC2 || s[0] > 0xF4)
        return 0;
    n = s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : 4;
    if (s[0] == 0xE0)
        low = 0xA0;
    else if (s[0] == 0xED)
        high = 0x9F; /* surrogates */
    else if (s[0] == 0xF0)
        low = 0x90;
    else if (s[0] == 0xF4)
        high = 0x8F;
    if (left < n || s[1] < low || s[1] > high)
        return 0;
    for (size_t k = 2; k < n; k++)
        if (s[k] < 0x80 || s[k] > 0xBF)
            return 0;
    return n;
}

/* What is wrong with the characters of a line; NULL: nothing. */
static const char *characters_wrong(const char *line, size_t len)
{
    for (size_t at = 0, n; at < len; at += n) {
        unsigned char c = (unsigned char)line[at];

        if (c == '\0')
            return "a NUL byte; this is no text file";
        if ((c < 0x20 && c != '\t') || c == 0x7F)
            return "a control character";
        n = utf8_length((const unsigned char *)line + at, len - at);
        if (!n)
            return "not valid UTF-8";
    }
    return NULL;
}

static bool blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Cuts the blanks off both ends of [from, to) and ends it with NUL; *to must be writable. */
static char *trimmed(char *from, char *to)
{
    while (from < to && blank(*from))
        from++;
    while (to > from && blank(to[-1]))
        to--;
    *to = '\0';
    return from;
}

static enum ini_result bad(struct ini *i, const char *why)
{
    i->why = why;
    return INI_BAD;
}

static enum ini_result section_read(struct ini *i, char *text)
{
    size_t len = strlen(text);

    if (text[len - 1] != ']')
        return bad(i, "a section line ends with ']'");
    i->section = trimmed(text + 1, text + len - 1);
    return *i->section && !strpbrk(i->section, "[]") ? INI_SECTION : bad(i, "not a section name");
}

/* INI_END: nothing in this line. */
static enum ini_result line_read(struct ini *i, char *from, char *to)
{
    const char *wrong = characters_wrong(from, (size_t)(to - from));
    char *text, *equals;

    if (wrong)
        return bad(i, wrong);
    text = trimmed(from, to);
    if (*text == '\0' || *text == '#' || *text == ';')
        return INI_END;
    if (*text == '[')
        return section_read(i, text);
    equals = strchr(text, '=');
    if (!equals)
        return bad(i, "neither [Section] nor Key=value nor a comment");
    to = text + strlen(text);
    if (to[-1] == '\\')
        return bad(i, "a value is not continued on the next line; write it on one line");
    i->key = trimmed(text, equals);
    i->value = trimmed(equals + 1, to);
    return *i->key ? INI_ENTRY : bad(i, "no key before '='");
}

enum ini_result ini_next(struct ini *i)
{
    while (i->at < i->end) {
        char *from = i->at, *to = memchr(from, '\n', (size_t)(i->end - from));
        enum ini_result r;

        if (!to)
            to = i->end;
        i->at = to < i->end ? to + 1 : to;
        i->line++;
        if (to > from && to[-1] == '\r')
            to--;
        r = line_read(i, from, to);
        if (r != INI_END)
            return r;
    }
    return INI_END;
}

/* Fills up to `size` bytes; fewer only at the end of the file. */
static ssize_t read_whole(int fd, char *to, size_t size)
{
    size_t got = 0;

    while (got < size) {
        ssize_t n = read(fd, to + got, size - got);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        got += (size_t)n;
    }
    return (ssize_t)got;
}

static int failed(const char **why, int error, const char *text)
{
    *why = text ? text : strerror(error);
    return -error;
}

int ini_file_read(const char *path, char **text, size_t *len, const char **why)
{
    /* O_NONBLOCK: opening a FIFO would wait for somebody to write to it. */
    _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    _cleanup_(freep) char *buffer = NULL;
    struct stat st;
    ssize_t n;

    if (fd < 0 || fstat(fd, &st) < 0)
        return failed(why, errno, NULL);
    if (S_ISDIR(st.st_mode))
        return failed(why, EISDIR, NULL);
    if (!S_ISREG(st.st_mode))
        return failed(why, EINVAL, "not a regular file");
    buffer = malloc((size_t)INI_FILE_MAX + 1);
    if (!buffer)
        return failed(why, ENOMEM, NULL);
    n = read_whole(fd, buffer, (size_t)INI_FILE_MAX + 1);
    if (n < 0)
        return failed(why, (int)-n, NULL);
    if (n > (ssize_t)INI_FILE_MAX)
        return failed(why, EFBIG, "larger than 1 MiB");
    buffer[n] = '\0';
    *text = buffer;
    *len = (size_t)n;
    buffer = NULL;
    return 0;
}
