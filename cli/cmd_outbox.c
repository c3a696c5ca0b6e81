/* outbox: the messages that imd keeps until the server has answered. */
#include "moment.h"
#include "options.h"
#include "output.h"
#include "reach.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID_COLUMNS 36 /* a UUID; longer ones push their row to the right */

/* ---- Entries ---- */

static const char *entry_word(const struct imctl_event *e, const char *key)
{
    const char *word = imctl_event_string(e, key);
    return word ? word : "?";
}

static int64_t entry_int(const struct imctl_event *e, const char *key)
{
    int64_t value = 0;
    imctl_event_int(e, key, &value);
    return value;
}

static int64_t entry_age(const struct imctl_event *e)
{
    int64_t age = moment_now() - entry_int(e, "queuedTime");
    return age > 0 ? age : 0;
}

static void print_row(const struct imctl_event *e)
{
    int used = output_plain(entry_word(e, "messageId"));
    printf("%*s  %-9s  %8lld  ", used < ID_COLUMNS ? ID_COLUMNS - used : 0, "", entry_word(e, "state"),
           (long long)entry_int(e, "attempts"));
    output_span(entry_age(e));
    putchar('\n');
}

static void print_state(const struct imctl_event *e)
{
    output_label("State");
    output_plain(entry_word(e, "state"));
    if (imctl_event_value(e, "code"))
        printf(" (code %lld)", (long long)imctl_event_code(e));
    putchar('\n');
}

static void print_date(const struct imctl_event *e, const char *label, const char *key)
{
    int64_t time;
    if (!imctl_event_int(e, key, &time))
        return;
    output_label(label);
    output_date(time);
    putchar('\n');
}

static void print_entry(const struct imctl_event *e)
{
    output_label("Message");
    output_plain(entry_word(e, "messageId"));
    putchar('\n');
    print_state(e);
    output_label("Attempts");
    printf("%lld\n", (long long)entry_int(e, "attempts"));
    print_date(e, "Queued", "queuedTime");
    print_date(e, "Expires", "expiresTime");
    print_date(e, "Changed", "changedTime");
}

/* ---- A choice of them ---- */

struct listing {
    struct imctl_event **at; /* the oldest first */
    size_t count, capacity;
};

static void listing_deinit(struct listing *l)
{
    while (l->count > 0)
        imctl_event_free(l->at[--l->count]);
    free(l->at);
}

/* Takes e over. 0 or -ENOMEM */
static int listing_add(struct listing *l, struct imctl_event *e)
{
    if (l->count == l->capacity) {
        size_t capacity = l->capacity ? 2 * l->capacity : 16;
        struct imctl_event **at = realloc(l->at, capacity * sizeof(struct imctl_event *));
        if (!at) {
            imctl_event_free(e);
            return -ENOMEM;
        }
        l->at = at;
        l->capacity = capacity;
    }
    l->at[l->count++] = e;
    return 0;
}

static bool is_wanted(const struct arguments *a, const struct imctl_event *e)
{
    int64_t queued = entry_int(e, "queuedTime");
    return (a->since.kind == MOMENT_NONE || queued >= a->since.time_ms) &&
           (a->until.kind == MOMENT_NONE || queued <= a->until.time_ms);
}

/* 0 or -ENOMEM */
static int listing_fill(struct listing *l, const struct arguments *a, const struct imctl_reply *r)
{
    struct imctl_event *e;
    size_t at = 0;
    int error;
    while ((error = imctl_reply_event(r, &at, &e)) == 0 && e) {
        if (is_wanted(a, e))
            error = listing_add(l, e);
        else
            imctl_event_free(e);
        if (error < 0)
            break;
    }
    return error;
}

/* The place in the array of what is printed as the n-th. */
static size_t place(const struct listing *l, const struct arguments *a, size_t shown, size_t n)
{
    return a->reverse ? l->count - 1 - n : l->count - shown + n;
}

static void print_listing(const struct listing *l, const struct arguments *a)
{
    size_t shown = a->count && a->count < l->count ? a->count : l->count;
    if (a->json)
        fputs("{\"entries\":[", stdout);
    else
        printf("%-*s  %-9s  %8s  %s\n", ID_COLUMNS, "MESSAGE", "STATE", "ATTEMPTS", "AGE");
    for (size_t n = 0; n < shown; n++) {
        const struct imctl_event *e = l->at[place(l, a, shown, n)];
        if (a->json)
            printf("%s%s", n > 0 ? "," : "", imctl_event_json(e, NULL));
        else
            print_row(e);
    }
    if (a->json)
        puts("]}");
}

/* ---- Actions ---- */

static bool has_choice(const struct arguments *a)
{
    return a->count || a->reverse || a->since.kind != MOMENT_NONE || a->until.kind != MOMENT_NONE;
}

static int print_list(const struct arguments *a, const struct imctl_reply *r)
{
    struct listing l = {NULL, 0, 0};
    if (a->json && !has_choice(a)) {
        puts(imctl_reply_json(r, NULL));
        return 0;
    }
    int error = listing_fill(&l, a, r);
    if (error == 0)
        print_listing(&l, a);
    listing_deinit(&l);
    return error < 0 ? failure_status(error) : 0;
}

static int print_one(const struct arguments *a, const struct imctl_reply *r)
{
    struct imctl_event *e = NULL;
    size_t at = 0;
    if (a->json) {
        puts(imctl_reply_json(r, NULL));
        return 0;
    }
    int error = imctl_reply_event(r, &at, &e);
    if (e)
        print_entry(e);
    imctl_event_free(e);
    return error < 0 ? failure_status(error) : 0;
}

/* As reach_answer, but says which message there is not. */
static int answer(int error, const char *id, struct imctl_reply **r)
{
    if (error < 0 || imctl_reply_error(*r) != IMCTL_NOT_FOUND)
        return reach_answer(error, r);
    complain("the outbox knows no message '%s'; see 'imctl outbox'", id ? id : "");
    return imctl_error_exit_status(IMCTL_NOT_FOUND);
}

/* id: NULL for all */
static int ask(const struct arguments *a, struct imctl *c, const char *id,
               int (*print)(const struct arguments *a, const struct imctl_reply *r))
{
    struct imctl_reply *r = NULL;
    int status = answer(imctl_outbox_wait(c, id, ANSWER_TIMEOUT_MS, &r), id, &r);
    if (status == 0)
        status = print(a, r);
    imctl_reply_free(r);
    return status;
}

static int list(const struct arguments *a, struct imctl *c, const char *id)
{
    return ask(a, c, NULL, print_list);
}

static int show(const struct arguments *a, struct imctl *c, const char *id)
{
    return ask(a, c, id, print_one);
}

static int cancel(const struct arguments *a, struct imctl *c, const char *id)
{
    struct imctl_reply *r = NULL;
    int status = answer(imctl_outbox_cancel_wait(c, id, ANSWER_TIMEOUT_MS, &r), id, &r);
    if (status == 0 && a->json)
        puts(imctl_reply_json(r, NULL));
    else if (status == 0)
        printf("%s cancelled\n", id);
    imctl_reply_free(r);
    return status;
}

struct action {
    const char *word;
    bool of_one; /* needs an ID */
    int (*run)(const struct arguments *a, struct imctl *c, const char *id);
};

static const struct action actions[] = {
    {"list", false, list}, {"show", true, show}, {"cancel", true, cancel}};

static const struct action *action_find(const char *word)
{
    for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++)
        if (strcmp(actions[i].word, word) == 0)
            return &actions[i];
    return NULL;
}

int cmd_outbox(const struct arguments *a)
{
    const char *word = a->operands[0] ? a->operands[0] : actions[0].word;
    const char *id = a->operands[0] ? a->operands[1] : NULL;
    const struct action *action = action_find(word);
    struct imctl *c = NULL;
    if (!action)
        return usage(a->command, "unknown action", word);
    if (action->of_one && !id)
        return usage(a->command, "missing", "ID");
    if (!action->of_one && id)
        return usage(a->command, "one word too many:", id);
    if (action->of_one && has_choice(a))
        return usage(a->command, "-n, --since, --until and -r are not for", word);
    int status = reach_daemon(a, &c);
    if (status == 0)
        status = action->run(a, c, id);
    imctl_close(c);
    return status;
}
