/*
 * libedit asks for one character after the other by a function of ours, which serves the guest while it
 * waits. libedit does not know of lines above its own; so we take its line away, by going up as many rows as
 * the part before the cursor takes, and have it drawn anew.
 */
#include "prompt.h"

#include "editline.h"
#include "output.h"

#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>
#include <wctype.h>

#define HISTORY_LINES 1000
#define COLUMNS_USUAL 80
#define ROWS_USUAL 24
#define TAB_COLUMNS 8
#define TEXT_MAX 256
#define SUSPEND 26 /* what Ctrl-Z types */

static struct editline lib;

struct prompt {
    EditLine *el;
    History *history;
    struct prompt_guest guest;
    char text[TEXT_MAX];
    char *line;
    mbstate_t typed;  /* of a character whose first bytes came */
    sigset_t waiting; /* the signals' mask while we wait: only then may libedit's handlers write */
    bool reading;     /* there is a line on the screen, or was until it was hidden */
    bool hidden;
};

/* ---- Where the cursor is ---- */

static int or_usual(int number, int usual)
{
    return number > 0 ? number : usual;
}

static void screen_size(int *columns, int *rows)
{
    struct winsize w = {0};
    ioctl(STDOUT_FILENO, TIOCGWINSZ, &w);
    *columns = or_usual(w.ws_col, COLUMNS_USUAL);
    *rows = or_usual(w.ws_row, ROWS_USUAL);
}

/* The columns that libedit gives a character: ^X for a control character, \U+XXXXX for what cannot be shown.
 */
static int character_width(wchar_t c, int column)
{
    if (c == L'\t')
        return TAB_COLUMNS - column % TAB_COLUMNS;
    if (c < 0x80 && iswcntrl((wint_t)c))
        return 2;
    if (!iswprint((wint_t)c))
        return c > 0xffff ? 8 : 7;
    return wcwidth(c);
}

/* A wide character that does not fit moves to the next row whole. */
static void cursor_fit(int *row, int *column, wchar_t c, int columns)
{
    if (!iswprint((wint_t)c) || *column + wcwidth(c) <= columns)
        return;
    ++*row;
    *column = 0;
}

/* A row that is full begins the next one. */
static void cursor_pass(int *row, int *column, wchar_t c, int columns)
{
    cursor_fit(row, column, c, columns);
    *column += character_width(c, *column);
    *row += *column / columns;
    *column %= columns;
}

static int cursor_row(const struct prompt *p)
{
    const LineInfoW *line = lib.el_wline(p->el);
    const char *text = p->text;
    mbstate_t state = {0};
    int columns, rows, row = 0, column = 0;
    wchar_t c;
    screen_size(&columns, &rows);
    for (size_t n; (n = mbrtowc(&c, text, MB_CUR_MAX, &state)) > 0 && n < (size_t)-2; text += n)
        cursor_pass(&row, &column, c, columns);
    for (const wchar_t *at = line->buffer; at < line->cursor; at++)
        cursor_pass(&row, &column, *at, columns);
    if (line->cursor < line->lastchar)
        cursor_fit(&row, &column, *line->cursor, columns);
    return row < rows ? row : rows - 1;
}

/* ---- Taking it away and drawing it ---- */

void prompt_hide(struct prompt *p)
{
    if (!p->reading || p->hidden)
        return;
    int row = cursor_row(p);
    if (row > 0)
        printf("\x1b[%dA", row);
    fputs("\r\x1b[J", stdout);
    p->hidden = true;
}

static void prompt_draw(struct prompt *p)
{
    if (p->hidden)
        lib.el_set(p->el, EL_REFRESH);
    p->hidden = false;
}

/* No character is cut. */
static void text_make(const char *text, char *out, size_t size)
{
    size_t len = 0, whole = 0;
    for (size_t control; *text && len + 1 < size; text += control ? control : 1) {
        if ((*text & 0xc0) != 0x80)
            whole = len;
        control = output_control(text);
        out[len++] = control ? '?' : *text;
    }
    out[(*text & 0xc0) == 0x80 ? whole : len] = '\0';
}

void prompt_set(struct prompt *p, const char *text)
{
    char made[TEXT_MAX];
    text_make(text, made, sizeof(made));
    if (strcmp(made, p->text) == 0)
        return;
    prompt_hide(p);
    memcpy(p->text, made, sizeof(made));
}

/* ---- What libedit calls ---- */

static char *give_text(EditLine *el)
{
    struct prompt *p = NULL;
    lib.el_get(el, EL_CLIENTDATA, &p);
    return p->text;
}

/* Serves the guest until there is something to read. 0 or a negative errno. */
static int wait_for_typing(struct prompt *p)
{
    struct pollfd polled[] = {{STDIN_FILENO, POLLIN, 0}, {-1, 0, 0}};
    while (polled[0].revents == 0) {
        int ms = p->guest.wait(&polled[1], p->guest.userdata);
        struct timespec limit = {ms / 1000, ms % 1000 * 1000000L};
        prompt_draw(p);
        if (ppoll(polled, 2, ms < 0 ? NULL : &limit, &p->waiting) < 0 && errno != EINTR)
            return -errno;
        int error = p->guest.serve(p->guest.userdata);
        if (error < 0)
            return error;
    }
    prompt_draw(p);
    return 0;
}

/* Adds a byte to a character. 1: it is whole. Bytes that are no character are dropped. */
static int character_add(struct prompt *p, char byte, wchar_t *out)
{
    size_t n = mbrtowc(out, &byte, 1, &p->typed);
    if (n == (size_t)-1)
        p->typed = (mbstate_t){0};
    return n <= 1;
}

/* Ctrl-Z; the signal is taken in the next wait. */
static bool is_suspension(wchar_t c)
{
    return c == SUSPEND && raise(SIGTSTP) == 0;
}

/* 1: a character; 0: the end. */
static int give_character(EditLine *el, wchar_t *out)
{
    struct prompt *p = NULL;
    char byte;
    ssize_t n;
    lib.el_get(el, EL_CLIENTDATA, &p);
    do {
        if (wait_for_typing(p) < 0)
            return 0;
        n = read(STDIN_FILENO, &byte, 1);
        if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
            return 0;
    } while (n < 0 || !character_add(p, byte, out) || is_suspension(*out));
    return 1;
}

/* ---- The prompt ---- */

/* Characters are UTF-8, whatever the locale: so they are on the wire. */
static void locale_choose(void)
{
    if (!setlocale(LC_CTYPE, "") || strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
        setlocale(LC_CTYPE, "C.UTF-8");
}

/* Ctrl-C removes the line, so keys must be no signals. Those that come from elsewhere, libedit sees to. */
static void keys_bind(EditLine *el)
{
    lib.el_set(el, EL_EDITOR, "emacs");
    lib.el_set(el, EL_SIGNAL, 1);
    lib.el_set(el, EL_SETTY, "-d", "-isig", NULL);
    lib.el_set(el, EL_BIND, "^C", "em-kill-line", NULL);
    lib.el_set(el, EL_BIND, "^R", "em-inc-search-prev", NULL);
}

static bool editor_begin(struct prompt *p)
{
    HistEvent e;
    p->history = lib.history_init();
    p->el = lib.el_init("imctl", stdin, stdout, stderr);
    if (!p->history || !p->el)
        return false;
    lib.history(p->history, &e, H_SETSIZE, HISTORY_LINES);
    lib.history(p->history, &e, H_SETUNIQUE, 1);
    lib.el_set(p->el, EL_CLIENTDATA, p);
    lib.el_set(p->el, EL_PROMPT, give_text);
    lib.el_set(p->el, EL_HIST, lib.history, p->history);
    lib.el_set(p->el, EL_GETCFN, give_character);
    keys_bind(p->el);
    return true;
}

/* Those that libedit handles: a handler writes to the terminal, and must not come while we do. */
static void signals_hold(struct prompt *p)
{
    static const int handled[] = {SIGTSTP, SIGCONT, SIGWINCH, SIGHUP, SIGTERM, SIGQUIT};
    sigset_t held;
    sigemptyset(&held);
    for (size_t i = 0; i < sizeof(handled) / sizeof(handled[0]); i++)
        sigaddset(&held, handled[i]);
    sigprocmask(SIG_BLOCK, &held, &p->waiting);
}

struct prompt *prompt_new(const struct prompt_guest *guest)
{
    struct prompt *p = calloc(1, sizeof(*p));
    bool loaded = p && editline_load(&lib);
    locale_choose();
    if (!loaded || !editor_begin(p)) {
        complain("%s", loaded ? "this terminal cannot be used" : "cannot load libedit, the line editor");
        prompt_free(p);
        return NULL;
    }
    p->guest = *guest;
    return p;
}

void prompt_free(struct prompt *p)
{
    if (!p)
        return;
    if (p->el)
        lib.el_end(p->el);
    if (p->history)
        lib.history_end(p->history);
    free(p->line);
    free(p);
}

/* What was typed, remembered and without its line break. NULL: no memory. */
static const char *line_take(struct prompt *p, const char *typed)
{
    HistEvent e;
    free(p->line);
    p->line = strdup(typed);
    if (!p->line)
        return NULL;
    p->line[strcspn(p->line, "\n")] = '\0';
    if (p->line[0])
        lib.history(p->history, &e, H_ENTER, p->line);
    return p->line;
}

const char *prompt_read(struct prompt *p)
{
    int count;
    signals_hold(p);
    p->reading = true;
    const char *typed = lib.el_gets(p->el, &count);
    p->reading = p->hidden = false;
    sigprocmask(SIG_SETMASK, &p->waiting, NULL);
    if (!typed || count <= 0)
        return NULL;
    return line_take(p, typed);
}
