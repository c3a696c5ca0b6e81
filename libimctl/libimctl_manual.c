/* Fills libimctl(3) with the declarations of imctl.h and the programs of examples/; part of the build. */
#include "manual.h"
#include "programs.h" /* PROGRAMS(X), a row for each: made from the list in CMakeLists.txt */

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>

extern const char public_header[];

static void program_write(const char *text, FILE *to)
{
    for (; *text; text++) {
        if (*text == '\\') /* it stands for itself nowhere in scdoc */
            putc('\\', to);
        putc(*text, to);
    }
}

/* ---- Declarations ---- */

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* Behind space and comments. */
static const char *skip_comments(const char *p)
{
    for (;;) {
        while (isspace((unsigned char)*p))
            p++;
        if (!begins(p, "/*"))
            return p;
        p = strstr(p, "*/") + 2;
    }
}

/* Up to its ';'. Lines that go on are indented by four; comments are left out. */
static const char *declaration_write(const char *p, FILE *to)
{
    bool inside = false; /* of the braces of an enum */
    if (begins(p, "IMCTL_API"))
        p = skip_comments(p + strlen("IMCTL_API"));
    while (*p != ';' || inside) {
        const char *next = skip_comments(p);
        if (next == p) {
            inside = *p == '{' || (inside && *p != '}');
            putc(*p++, to);
            continue;
        }
        fputs(!memchr(p, '\n', (size_t)(next - p)) ? " " : *next == '}' ? "\n" : "\n    ", to);
        p = next;
    }
    fputs(";\n", to);
    return p + 1;
}

/* All between the comment that names the section and the next one, or a directive. */
static void section_write(const char *name, FILE *to)
{
    char title[64];
    snprintf(title, sizeof(title), "/* ---- %s ---- */", name);
    const char *p = strstr(public_header, title);
    if (!p) {
        fprintf(stderr, "imctl.h has no section %s\n", name);
        exit(1);
    }
    const char *end = strstr(p + 1, "/* ---- ");
    p = skip_comments(p);
    while (*p != '#' && (!end || p < end))
        p = skip_comments(declaration_write(p, to));
}

/* ---- Parts ---- */

/* Each part has a function of its own. */

#define SECTIONS(X)                  \
    X(errors, "Errors of a reply")   \
    X(words, "Words")                \
    X(connection, "Connection")      \
    X(requests, "Requests")          \
    X(blocking, "Blocking requests") \
    X(events, "Events")              \
    X(replies, "Replies")            \
    X(messages, "Messages")          \
    X(selections, "Selections")

#define PROGRAM_WRITE(name)                      \
    extern const char example_##name[];          \
    static void program_##name##_write(FILE *to) \
    {                                            \
        program_write(example_##name, to);       \
    }
PROGRAMS(PROGRAM_WRITE)

#define SECTION_WRITE(name, title)               \
    static void section_##name##_write(FILE *to) \
    {                                            \
        section_write(title, to);                \
    }
SECTIONS(SECTION_WRITE)

#define PROGRAM_PART(name) {"@" #name ".c@\n", program_##name##_write, 0},
#define SECTION_PART(name, title) {"@" title "@\n", section_##name##_write, 0},

int main(void)
{
    struct manual_part parts[] = {PROGRAMS(PROGRAM_PART) SECTIONS(SECTION_PART)};
    return manual_fill(parts, sizeof(parts) / sizeof(parts[0]));
}
