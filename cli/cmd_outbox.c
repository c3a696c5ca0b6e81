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

static const char *entry_string(const json_t *entry, const char *key)
{
    const char *text = json_string_value(json_object_get(entry, key));
    return text ? text : "?";
}

static int64_t entry_int(const json_t *entry, const char *key)
{
    return json_integer_value(json_object_get(entry, key));
}

static int64_t entry_age(const json_t *entry)
{
    int64_t age = moment_now() - entry_int(entry, "queuedTime");
    return age > 0 ? age : 0;
}

static void print_row(const json_t *entry)
{
    int used = output_plain(entry_string(entry, "messageId"));
    printf("%*s  %-9s  %8lld  ", used < ID_COLUMNS ? ID_COLUMNS - used : 0, "", entry_string(entry, "state"),
           (long long)entry_int(entry, "attempts"));
    output_span(entry_age(entry));
    putchar('\n');
}

static void print_table(const json_t *entries)
{
    printf("%-*s  %-9s  %8s  %s\n", ID_COLUMNS, "MESSAGE", "STATE", "ATTEMPTS", "AGE");
    for (size_t i = 0; i < json_array_size(entries); i++)
        print_row(json_array_get(entries, i));
}

static void print_state(const json_t *entry)
{
    output_label("State");
    output_plain(entry_string(entry, "state"));
    if (json_object_get(entry, "code"))
        printf(" (code %lld)", (long long)entry_int(entry, "code"));
    putchar('\n');
}

static void print_date(const json_t *entry, const char *label, const char *key)
{
    if (!json_object_get(entry, key))
        return;
    output_label(label);
    output_date(entry_int(entry, key));
    putchar('\n');
}

static void print_entry(const json_t *entry)
{
    output_label("Message");
    output_plain(entry_string(entry, "messageId"));
    putchar('\n');
    print_state(entry);
    output_label("Attempts");
    printf("%lld\n", (long long)entry_int(entry, "attempts"));
    print_date(entry, "Queued", "queuedTime");
    print_date(entry, "Expires", "expiresTime");
    print_date(entry, "Changed", "changedTime");
}

static void print_first(const json_t *entries)
{
    print_entry(json_array_get(entries, 0));
}

static int print_entries(const struct arguments *a, const struct imctl_reply *r,
                         void (*print)(const json_t *entries))
{
    if (a->json) {
        puts(imctl_reply_json(r, NULL));
        return EXIT_SUCCESS;
    }
    json_t *result = json_loads(imctl_reply_json(r, NULL), 0, NULL);
    if (!result) {
        complain("the outbox cannot be read");
        return imctl_error_exit_status(IMCTL_INTERNAL);
    }
    print(json_object_get(result, "entries"));
    json_decref(result);
    return EXIT_SUCCESS;
}

/* ---- Actions ---- */

static int call_for(struct imctl *c, const char *method, const char *id, struct imctl_reply **out)
{
    json_t *params = json_pack("{s:s}", "messageId", id);
    if (!params)
        return failure_status(-EILSEQ); /* or no memory, which is not likely */
    return reach_call_json(c, method, params, out);
}

static int list(const struct arguments *a, struct imctl *c, const char *id)
{
    struct imctl_reply *r = NULL;
    int status = reach_call(c, "outbox", NULL, &r);
    if (status == 0)
        status = print_entries(a, r, print_table);
    imctl_reply_free(r);
    return status;
}

static int show(const struct arguments *a, struct imctl *c, const char *id)
{
    struct imctl_reply *r = NULL;
    int status = call_for(c, "outbox", id, &r);
    if (status == 0)
        status = print_entries(a, r, print_first);
    imctl_reply_free(r);
    return status;
}

static int cancel(const struct arguments *a, struct imctl *c, const char *id)
{
    struct imctl_reply *r = NULL;
    int status = call_for(c, "outbox.cancel", id, &r);
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
    int status = reach_daemon(a, &c);
    if (status == 0)
        status = action->run(a, c, id);
    imctl_close(c);
    return status;
}
