#include "show.h"

#include "output.h"
#include "received.h"

#include <stdio.h>
#include <string.h>

#define BOLD "\x1b[1m"
#define DIM "\x1b[2m"
#define PLAIN "\x1b[0m"

static void put_coloured(const char *colour, bool colours, const char *text)
{
    if (colours)
        fputs(colour, stdout);
    output_plain(text);
    if (colours)
        fputs(PLAIN, stdout);
}

static void put_time(const struct imctl_event *e, const struct show *s)
{
    if (imctl_event_time(e) == 0)
        return;
    if (s->colours)
        fputs(DIM, stdout);
    if (s->dates)
        output_date(imctl_event_time(e));
    else
        output_clock(imctl_event_time(e));
    fputs(s->colours ? PLAIN " " : " ", stdout);
}

/* `alice -> bob (group)`; the two kinds of conversation that the addresses show anyway are not named. */
static void put_addresses(const struct imctl_event *e, bool colours)
{
    const char *from = imctl_event_from(e), *to = imctl_event_to(e);
    int conversation = imctl_event_conversation(e);
    const char *word = imctl_conversation_word(conversation);
    put_coloured(BOLD, colours, from ? from : "server");
    if (to) {
        fputs(" -> ", stdout);
        output_plain(to);
    }
    if (word && conversation != IMCTL_SERVER && conversation != IMCTL_PRIVATE)
        printf(" (%s)", word);
    fputs(": ", stdout);
}

static void put_type(const struct imctl_event *e)
{
    const char *type = imctl_event_type(e), *signal = imctl_event_signal(e);
    if (!type || strcmp(imctl_type_short(type), "text") == 0)
        return;
    putchar('[');
    output_plain(imctl_type_short(type));
    if (signal) {
        putchar(' ');
        output_plain(signal);
    }
    fputs("] ", stdout);
}

static void put_code(const struct imctl_event *e)
{
    if (imctl_event_code(e) != 0)
        printf(" (code %lld)", (long long)imctl_event_code(e));
}

const char *show_text(const struct imctl_event *e)
{
    const char *text = imctl_event_text(e), *error = imctl_event_error(e);
    if (imctl_event_kind(e) == IMCTL_EVENT_STATUS || imctl_event_kind(e) == IMCTL_EVENT_OUTBOX)
        return imctl_event_state(e);
    if (!text && !imctl_event_type(e))
        text = error ? error : imctl_event_value(e, "data");
    return text;
}

const char *show_conversation(const struct imctl_event *e, char number[SHOW_CONVERSATION_SIZE])
{
    int conversation = imctl_event_conversation(e);
    const char *word = imctl_conversation_word(conversation);
    snprintf(number, SHOW_CONVERSATION_SIZE, "%d", conversation);
    return word ? word : conversation >= 0 ? number : NULL;
}

/* `report.pdf, 12.3 kB` */
static void put_received(const struct received *r, const char *file)
{
    output_plain(r->name ? r->name : "file");
    fputs(", ", stdout);
    output_bytes(r->size);
    if (!file)
        return;
    fputs(", saved as ", stdout);
    output_plain(file);
}

static void put_content(const struct imctl_event *e, const char *file)
{
    const char *text = show_text(e);
    struct received r;
    if (received_find(e, &r))
        put_received(&r, file);
    else if (text)
        output_plain(text);
    put_code(e);
}

static void show_message(const struct imctl_event *e, bool colours, const char *file)
{
    put_addresses(e, colours);
    put_type(e);
    put_content(e, file);
}

static void show_sent(const struct imctl_event *e, bool colours, const char *file)
{
    put_coloured(DIM, colours, "sent ");
    show_message(e, colours, file);
}

static void show_status(const struct imctl_event *e, bool colours, const char *file)
{
    const char *state = imctl_event_state(e), *reason = imctl_event_string(e, "reason");
    const char *storage = imctl_event_string(e, "storage");
    int64_t retry;
    fputs("-- ", stdout);
    put_coloured(BOLD, colours, state ? state : "unknown");
    if (reason && *reason) {
        fputs(" (", stdout);
        output_plain(reason);
        putchar(')');
    }
    if (imctl_event_int(e, "nextRetryMs", &retry)) {
        fputs(", next try in ", stdout);
        output_span(retry);
    }
    if (storage && strcmp(storage, "ok") != 0) {
        fputs(", storage ", stdout);
        output_plain(storage);
    }
}

static void show_outbox(const struct imctl_event *e, bool colours, const char *file)
{
    const char *id = imctl_event_id(e), *state = imctl_event_state(e);
    fputs("-- outbox ", stdout);
    output_plain(id ? id : "?");
    putchar(' ');
    put_coloured(BOLD, colours, state ? state : "unknown");
    put_code(e);
}

static void show_gap(const struct imctl_event *e, bool colours, const char *file)
{
    const char *from = imctl_event_value(e, "from"), *to = imctl_event_value(e, "to");
    const char *reason = imctl_event_string(e, "reason");
    fputs("-- ", stdout);
    put_coloured(BOLD, colours, "lost");
    if (reason && strcmp(reason, "outbox") == 0) { /* which have no numbers */
        fputs(": changes of the outbox; see 'imctl outbox'", stdout);
        return;
    }
    printf(": events %s to %s", from ? from : "?", to ? to : "?");
    if (reason) {
        fputs(" (", stdout);
        output_plain(reason);
        putchar(')');
    }
}

static void (*const shows[])(const struct imctl_event *e, bool colours, const char *file) = {
    [IMCTL_EVENT_MESSAGE] = show_message, [IMCTL_EVENT_SENT] = show_sent, [IMCTL_EVENT_STATUS] = show_status,
    [IMCTL_EVENT_OUTBOX] = show_outbox,   [IMCTL_EVENT_GAP] = show_gap,
};

void show_gap_aside(const struct imctl_event *e)
{
    const char *from = imctl_event_value(e, "from"), *to = imctl_event_value(e, "to");
    const char *reason = imctl_event_string(e, "reason");
    if (reason && strcmp(reason, "outbox") == 0)
        complain("changes of the outbox are lost; see 'imctl outbox'");
    else
        complain("events %s to %s are lost (%s)", from ? from : "?", to ? to : "?", reason ? reason : "?");
}

struct show show_as(bool json, bool dates, const struct format *format)
{
    return (struct show){.json = json || !output_is_terminal(),
                         .colours = output_has_colours(),
                         .dates = dates,
                         .format = format};
}

static void show_for_people(const struct imctl_event *e, const struct show *s, const char *file)
{
    put_time(e, s);
    if (imctl_event_kind(e) == IMCTL_EVENT_OTHER)
        output_plain(imctl_event_json(e, NULL));
    else
        shows[imctl_event_kind(e)](e, s->colours, file);
}

bool show_event(const struct imctl_event *e, const struct show *s, const char *file)
{
    size_t len;
    const char *json = imctl_event_json(e, &len);
    if (s->format)
        return format_print(s->format, e, file);
    if (s->json)
        return output_line(json, len);
    show_for_people(e, s, file);
    return output_line("", 0);
}
