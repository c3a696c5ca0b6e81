/*
 * A form is read into parts: pieces of text, and letters of the table. What other people wrote must not look
 * like more than it is: on a terminal, control characters are shown as everywhere; elsewhere, where a program
 * takes it apart, line breaks, tabs and backslashes are escaped, so that an event is always one line and a
 * tab of the form always separates.
 */
#include "format.h"

#include "options.h"
#include "output.h"
#include "reach.h"
#include "show.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct letter {
    char letter;
    void (*put)(const struct format *f, const struct imctl_event *e, const char *file);
    const char *sentence;
};

struct part {
    const struct letter *letter; /* NULL: text */
    const char *text;
    size_t len;
};

struct format {
    bool terminal;
    char *text; /* of the form, its escapes replaced */
    struct part *parts;
    size_t count;
};

/* ---- The letters ---- */

static const char *escape_of(char c)
{
    return c == '\n' ? "\\n" : c == '\r' ? "\\r" : c == '\t' ? "\\t" : c == '\\' ? "\\\\" : NULL;
}

static void put_text(const struct format *f, const char *text)
{
    if (f->terminal) {
        output_plain(text ? text : "");
        return;
    }
    for (; text && *text; text++) {
        const char *escape = escape_of(*text);
        if (escape)
            fputs(escape, stdout);
        else
            putchar(*text);
    }
}

static void put_time(const struct format *f, const struct imctl_event *e, const char *file)
{
    if (imctl_event_time(e))
        output_date(imctl_event_time(e));
}

static void put_utc(const struct format *f, const struct imctl_event *e, const char *file)
{
    if (imctl_event_time(e))
        output_utc(imctl_event_time(e));
}

static void put_from(const struct format *f, const struct imctl_event *e, const char *file)
{
    put_text(f, imctl_event_from(e));
}

static void put_to(const struct format *f, const struct imctl_event *e, const char *file)
{
    put_text(f, imctl_event_to(e));
}

static void put_words(const struct format *f, const struct imctl_event *e, const char *file)
{
    put_text(f, show_text(e));
}

static void put_type(const struct format *f, const struct imctl_event *e, const char *file)
{
    const char *type = imctl_event_type(e);
    put_text(f, type ? imctl_type_short(type) : NULL);
}

static void put_conversation(const struct format *f, const struct imctl_event *e, const char *file)
{
    char number[SHOW_CONVERSATION_SIZE];
    put_text(f, show_conversation(e, number));
}

static void put_seq(const struct format *f, const struct imctl_event *e, const char *file)
{
    if (imctl_event_seq(e))
        printf("%" PRIu64, imctl_event_seq(e));
}

static void put_signal(const struct format *f, const struct imctl_event *e, const char *file)
{
    put_text(f, imctl_event_signal(e));
}

static void put_id(const struct format *f, const struct imctl_event *e, const char *file)
{
    put_text(f, imctl_event_id(e));
}

static void put_code(const struct format *f, const struct imctl_event *e, const char *file)
{
    printf("%" PRId64, imctl_event_code(e));
}

static void put_event(const struct format *f, const struct imctl_event *e, const char *file)
{
    put_text(f, imctl_event_name(e));
}

static void put_file(const struct format *f, const struct imctl_event *e, const char *file)
{
    put_text(f, file);
}

static void put_json(const struct format *f, const struct imctl_event *e, const char *file)
{
    size_t len;
    const char *json = imctl_event_json(e, &len);
    if (f->terminal)
        output_plain(json);
    else
        fwrite(json, 1, len, stdout);
}

static void put_percent(const struct format *f, const struct imctl_event *e, const char *file)
{
    putchar('%');
}

static const struct letter letters[] = {
    {'t', put_time, "when imd received it, date and time of day, local"},
    {'z', put_utc, "the same in UTC with milliseconds, as in RFC 3339: 2024-05-01T11:05:09.250Z"},
    {'f', put_from, "whom it is from"},
    {'T', put_to, "whom it is for"},
    {'m', put_words, "its text; of what has none, its content as JSON; of STATUS and OUTBOX, the state"},
    {'y', put_type, "its type: text, image, file, signal, or another name"},
    {'c', put_conversation, "its conversation: server, private, group and so on"},
    {'S', put_signal, "the name of the signal"},
    {'s', put_seq, "its number, as --since takes it"},
    {'i', put_id, "its messageId"},
    {'k', put_code, "the server's code, 0 when all is well"},
    {'e', put_event, "which kind of event it is: MESSAGE, SENT, STATUS, OUTBOX"},
    {'p', put_file, "the path that --save-files gave to its file"},
    {'j', put_json, "the whole event as imd wrote it: one line of JSON"},
    {'%', put_percent, "a %"},
};

static const struct letter *letter_find(char c)
{
    for (size_t i = 0; i < sizeof(letters) / sizeof(letters[0]); i++)
        if (letters[i].letter == c)
            return &letters[i];
    return NULL;
}

void format_manual(FILE *to)
{
    for (size_t i = 0; i < sizeof(letters) / sizeof(letters[0]); i++)
        fprintf(to, "*%%%c*\n\t%s\n\n", letters[i].letter, letters[i].sentence);
}

/* ---- Reading a form ---- */

/* What a backslash and this letter stand for; 0: nothing. */
static char escaped(char c)
{
    return c == 'n' ? '\n' : c == 't' ? '\t' : c == '\\' ? '\\' : '\0';
}

static void add_letter(struct format *f, const struct letter *letter)
{
    f->parts[f->count++] = (struct part){letter, NULL, 0};
}

/* Text that follows text is one part with it. */
static void add_char(struct format *f, char *at, char c)
{
    struct part *last = f->count > 0 ? &f->parts[f->count - 1] : NULL;
    *at = c;
    if (last && !last->letter)
        last->len++;
    else
        f->parts[f->count++] = (struct part){NULL, at, 1};
}

/* Takes what stands at *p and moves behind it; *out is where text goes. false: it stands for nothing. */
static bool take_piece(struct format *f, const char **p, char **out)
{
    bool marked = **p == '%' || **p == '\\';
    char c = (*p)[marked];
    const struct letter *letter = **p == '%' ? letter_find(c) : NULL;
    if (**p == '\\')
        c = escaped(c);
    if (marked && !letter && (**p == '%' || c == '\0'))
        return false;
    if (letter)
        add_letter(f, letter);
    else
        add_char(f, (*out)++, c);
    *p += marked + 1;
    return true;
}

static int format_read(struct format *f, const struct arguments *a)
{
    const char *p = a->format;
    char *out = f->text;
    while (*p) {
        char piece[] = {p[0], p[1], '\0'};
        if (!take_piece(f, &p, &out))
            return usage(a->command, "--format does not know", piece);
    }
    return 0;
}

int format_new(const struct arguments *a, struct format **out)
{
    *out = NULL;
    if (!a->format)
        return 0;
    size_t size = strlen(a->format) + 1;
    struct format *f = calloc(1, sizeof(*f));
    if (f) {
        f->terminal = output_is_terminal();
        f->text = malloc(size);
        f->parts = calloc(size, sizeof(*f->parts));
    }
    int status = f && f->text && f->parts ? format_read(f, a) : failure_status(-ENOMEM);
    if (status == 0)
        *out = f;
    else
        format_free(f);
    return status;
}

void format_free(struct format *f)
{
    if (!f)
        return;
    free(f->text);
    free(f->parts);
    free(f);
}

bool format_print(const struct format *f, const struct imctl_event *e, const char *file)
{
    for (const struct part *p = f->parts; p < f->parts + f->count; p++) {
        if (p->letter)
            p->letter->put(f, e, file);
        else
            fwrite(p->text, 1, p->len, stdout);
    }
    return output_line("", 0);
}
