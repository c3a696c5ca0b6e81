/*
 * chat: a line to type in at the bottom, and above it what comes. Each line is sent as a text, without
 * waiting for the one before; what became of it is told when it failed. Lines that begin with '/' are
 * commands.
 */
#include "attachment.h"
#include "deadline.h"
#include "options.h"
#include "output.h"
#include "prompt.h"
#include "reach.h"
#include "show.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define END_MS 5000 /* for the acks of what was typed last */
#define PROMPT_SIZE 512
#define CONNECTED "connected" /* the state that need not be told */

struct chat {
    const struct arguments *arguments;
    struct imctl *c;
    struct prompt *prompt;
    struct show show;
    char *to; /* NULL: the server */
    int conversation;
    char state[32];  /* of the link; "no imd": not even that */
    char reason[64]; /* why it is so, as it was told last */
    bool ended;
};

/* A message whose ack has not come. */
struct outgoing {
    struct chat *chat;
    char *what; /* as it was typed */
};

/* ---- The state, in the prompt ---- */

static bool is_named(int conversation)
{
    return conversation != IMCTL_SERVER && conversation != IMCTL_PRIVATE;
}

/* `bob> `, `team [group]> `, `bob (waiting)> ` */
static void state_show(struct chat *chat)
{
    char text[PROMPT_SIZE], conversation[32] = "", state[48] = "";
    if (is_named(chat->conversation))
        snprintf(conversation, sizeof(conversation), " [%s]", imctl_conversation_word(chat->conversation));
    if (strcmp(chat->state, CONNECTED) != 0)
        snprintf(state, sizeof(state), " (%s)", chat->state);
    snprintf(text, sizeof(text), "%.200s%s%s> ", chat->to ? chat->to : "server", conversation, state);
    prompt_set(chat->prompt, text);
}

static void state_set(struct chat *chat, const char *state, const char *reason)
{
    if (!state)
        return;
    snprintf(chat->state, sizeof(chat->state), "%s", state);
    snprintf(chat->reason, sizeof(chat->reason), "%s", reason ? reason : "");
    state_show(chat);
}

/* ---- What comes ---- */

static bool is_same(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

/* With --to only what concerns that one. */
static bool message_is_wanted(const struct chat *chat, const struct imctl_event *e)
{
    return !chat->arguments->to || is_same(imctl_event_from(e), chat->to) ||
           is_same(imctl_event_to(e), chat->to);
}

/* The prompt shows each state; a line is worth only that the link is lost or back, or another reason: without
 * a server there are two changes an attempt. */
static bool status_is_wanted(const struct chat *chat, const struct imctl_event *e)
{
    const char *state = imctl_event_state(e), *reason = imctl_event_string(e, "reason");
    return is_same(state, CONNECTED) || is_same(chat->state, CONNECTED) ||
           !is_same(reason ? reason : "", chat->reason);
}

static bool event_is_wanted(const struct chat *chat, const struct imctl_event *e)
{
    enum imctl_event_kind kind = imctl_event_kind(e);
    return kind == IMCTL_EVENT_MESSAGE  ? message_is_wanted(chat, e)
           : kind == IMCTL_EVENT_STATUS ? status_is_wanted(chat, e)
                                        : true;
}

static void take_event(struct imctl *c, const struct imctl_event *e, void *userdata)
{
    struct chat *chat = userdata;
    if (event_is_wanted(chat, e)) {
        prompt_hide(chat->prompt);
        show_event(e, &chat->show, NULL);
    }
    if (imctl_event_kind(e) == IMCTL_EVENT_STATUS)
        state_set(chat, imctl_event_state(e), imctl_event_string(e, "reason"));
}

static void take_status(struct imctl *c, const struct imctl_reply *r, void *userdata)
{
    state_set(userdata, imctl_reply_string(r, "state"), imctl_reply_string(r, "reason"));
}

static void notice(struct chat *chat, const char *what, const char *why)
{
    prompt_hide(chat->prompt);
    printf("-- %s", what);
    if (why && *why) {
        fputs(": ", stdout);
        output_plain(why);
    }
    output_line("", 0);
}

/* Of the way to imd. What became of the link meanwhile is asked. */
static void take_change(struct imctl *c, int error, void *userdata)
{
    struct chat *chat = userdata;
    if (error < 0) {
        notice(chat,
               error == -EBUSY ? "imd refuses the subscription; trying again"
                               : "imd has gone; trying to reach it",
               NULL);
        state_set(chat, "no imd", NULL);
        return;
    }
    notice(chat, "imd is back", NULL);
    imctl_call(c, "status", NULL, take_status, chat);
}

/* ---- What goes ---- */

static void outgoing_free(struct outgoing *o)
{
    if (!o)
        return;
    free(o->what);
    free(o);
}

static struct outgoing *outgoing_new(struct chat *chat, const char *what)
{
    struct outgoing *o = malloc(sizeof(*o));
    char *copy = strdup(what);
    if (!o || !copy) {
        free(o);
        free(copy);
        return NULL;
    }
    *o = (struct outgoing){chat, copy};
    return o;
}

/* `-- rejected: not today (code 9): hello` */
static void tell_failure(const struct outgoing *o, const struct imctl_reply *r)
{
    const char *why = imctl_reply_server_error(r);
    prompt_hide(o->chat->prompt);
    printf("-- %s: ",
           *imctl_reply_reason(r) ? imctl_reply_reason(r) : imctl_error_reason(imctl_reply_error(r)));
    output_plain(why ? why : imctl_reply_message(r));
    if (imctl_reply_code(r) != 0)
        printf(" (code %lld)", (long long)imctl_reply_code(r));
    fputs(": ", stdout);
    output_plain(o->what);
    output_line("", 0);
}

static void take_ack(struct imctl *c, const struct imctl_reply *r, void *userdata)
{
    struct outgoing *o = userdata;
    if (imctl_reply_error(r) != IMCTL_OK)
        tell_failure(o, r);
    outgoing_free(o);
}

static const char *send_failure(int error)
{
    return error == -ENOTCONN ? "imd cannot be reached" : error == -EILSEQ ? "no UTF-8" : strerror(-error);
}

/* Takes the message over. NULL: no memory for it. */
static void message_send(struct chat *chat, struct imctl_message *m, const char *what)
{
    struct outgoing *o = outgoing_new(chat, what);
    int error = m && o ? 0 : -ENOMEM;
    if (error == 0 && chat->to)
        error = imctl_message_set_to(m, chat->to);
    if (error == 0)
        error = imctl_message_set_conversation(m, chat->conversation);
    if (error == 0)
        error = imctl_send(chat->c, m, take_ack, o);
    if (error < 0) {
        outgoing_free(o);
        notice(chat, "not sent", send_failure(error));
    }
    imctl_message_free(m);
}

/* ---- Commands ---- */

static void send_signal(struct chat *chat, char *name)
{
    message_send(chat, imctl_message_signal(name), name);
}

static void send_attachment(struct chat *chat, const char *path, const char *type)
{
    struct imctl_message *m = NULL;
    if (attachment_message(path, type, &m) == 0)
        message_send(chat, m, path);
}

static void send_image(struct chat *chat, char *path)
{
    send_attachment(chat, path, "image");
}

static void send_file(struct chat *chat, char *path)
{
    send_attachment(chat, path, "file");
}

/* Without a conversation somebody is talked to in private. */
static bool address_set(struct chat *chat, const char *to, const char *conversation)
{
    int number = conversation ? imctl_conversation_parse(conversation) : to ? IMCTL_PRIVATE : IMCTL_SERVER;
    if (number < 0) {
        complain("'%s' is no conversation type; see 'imctl chat --help'", conversation);
        return false;
    }
    char *copy = to ? strdup(to) : NULL;
    if (to && !copy)
        return false;
    free(chat->to);
    chat->to = copy;
    chat->conversation = number;
    return true;
}

static void change_address(struct chat *chat, char *words)
{
    char *conversation = words + strcspn(words, " ");
    if (*conversation)
        *conversation++ = '\0';
    conversation += strspn(conversation, " ");
    if (address_set(chat, words, *conversation ? conversation : NULL))
        state_show(chat);
}

static void quit(struct chat *chat, char *nothing)
{
    chat->ended = true;
}

static void help(struct chat *chat, char *nothing);

static const struct chat_command {
    const char *name, *operand; /* NULL: it takes none */
    void (*run)(struct chat *chat, char *operand);
    const char *sentence;
} chat_commands[] = {
    {"signal", "NAME", send_signal, "send a signal"},
    {"image", "FILE", send_image, "send an image"},
    {"file", "FILE", send_file, "send a file"},
    {"to", "TO [CONVERSATION]", change_address, "whom the next lines are for"},
    {"help", NULL, help, "show this"},
    {"quit", NULL, quit, "end, as Ctrl-D does"},
};

#define CHAT_COMMANDS (sizeof(chat_commands) / sizeof(chat_commands[0]))

static void help(struct chat *chat, char *nothing)
{
    for (const struct chat_command *k = chat_commands; k < chat_commands + CHAT_COMMANDS; k++) {
        int used = printf("/%s %s", k->name, k->operand ? k->operand : "");
        printf("%*s%s\n", 24 - used, "", k->sentence);
    }
    puts("//TEXT                  send a text that begins with a slash");
}

static const struct chat_command *chat_command_find(const char *name)
{
    for (const struct chat_command *k = chat_commands; k < chat_commands + CHAT_COMMANDS; k++)
        if (strcmp(k->name, name) == 0)
            return k;
    return NULL;
}

static void spaces_remove(char *text)
{
    size_t len = strlen(text);
    while (len > 0 && text[len - 1] == ' ')
        text[--len] = '\0';
}

static void command_run(struct chat *chat, char *words)
{
    char *operand = words + strcspn(words, " ");
    if (*operand)
        *operand++ = '\0';
    operand += strspn(operand, " ");
    spaces_remove(operand);
    const struct chat_command *k = chat_command_find(words);
    if (!k)
        notice(chat, "no such command; see /help", words);
    else if (k->operand ? !*operand : *operand)
        printf("-- /%s %s\n", k->name, k->operand ? k->operand : "takes nothing");
    else
        k->run(chat, operand);
}

/* `//text` sends `/text`. */
static void line_take(struct chat *chat, const char *line)
{
    if (line[0] == '\0')
        return;
    if (line[0] != '/' || line[1] == '/') {
        const char *text = line + (line[0] == '/');
        message_send(chat, imctl_message_text(text), text);
        return;
    }
    char *words = strdup(line + 1);
    if (words)
        command_run(chat, words);
    free(words);
}

/* ---- The two sides, and the end ---- */

static int guest_wait(struct pollfd *p, void *userdata)
{
    struct chat *chat = userdata;
    *p = (struct pollfd){imctl_fd(chat->c), imctl_events(chat->c), 0};
    return imctl_timeout(chat->c);
}

static int guest_serve(void *userdata)
{
    struct chat *chat = userdata;
    return imctl_dispatch(chat->c);
}

/* What was typed last may not even have left. */
static void acks_await(struct chat *chat)
{
    int64_t deadline = deadline_after(END_MS);
    while (imctl_waiting(chat->c) > 0 && deadline_left(deadline) > 0) {
        struct pollfd p;
        int ms = guest_wait(&p, chat), left = deadline_left(deadline);
        poll(&p, 1, ms >= 0 && ms < left ? ms : left);
        if (imctl_dispatch(chat->c) < 0)
            return;
    }
}

static int chat_on(struct chat *chat)
{
    const char *line;
    while (!chat->ended && (line = prompt_read(chat->prompt)))
        line_take(chat, line);
    if (!chat->ended)
        puts(""); /* Ctrl-D leaves the cursor behind the prompt */
    imctl_on_event(chat->c, NULL, NULL);
    acks_await(chat);
    return EXIT_SUCCESS;
}

/* ---- The beginning ---- */

static int terminal_check(const struct arguments *a)
{
    const char *terminal = getenv("TERM");
    if (a->json)
        return usage(a->command, "nothing to print as", "--json");
    if (isatty(STDIN_FILENO) && output_is_terminal() && terminal && *terminal &&
        strcmp(terminal, "dumb") != 0)
        return 0;
    complain("chat needs a terminal; a program uses 'imctl send' and 'imctl listen'");
    return STATUS_USAGE;
}

static int subscribe(struct chat *chat)
{
    struct imctl_reply *r = NULL;
    int error = imctl_subscribe_wait(chat->c, NULL, ANSWER_TIMEOUT_MS, &r);
    if (error < 0)
        return failure_status(error);
    int status = imctl_reply_error(r) == IMCTL_OK ? 0 : refusal_status(r);
    if (status == 0)
        state_set(chat, imctl_reply_string(r, "status.state"), imctl_reply_string(r, "status.reason"));
    imctl_reply_free(r);
    return status;
}

static int chat_begin(struct chat *chat)
{
    struct prompt_guest guest = {guest_wait, guest_serve, chat};
    chat->prompt = prompt_new(&guest);
    if (!chat->prompt)
        return imctl_error_exit_status(IMCTL_INTERNAL);
    imctl_on_event(chat->c, take_event, chat);
    int error = imctl_set_reconnect(chat->c, take_change, chat);
    return error < 0 ? failure_status(error) : subscribe(chat);
}

int cmd_chat(const struct arguments *a)
{
    struct chat chat = {.arguments = a, .show = show_as(false, false, NULL)};
    int status = terminal_check(a);
    if (status == 0 && !address_set(&chat, a->to, a->conversation))
        status = STATUS_USAGE;
    if (status == 0)
        status = reach_daemon(a, &chat.c);
    if (status == 0)
        status = chat_begin(&chat);
    if (status == 0)
        status = chat_on(&chat);
    imctl_close(chat.c);
    prompt_free(chat.prompt);
    free(chat.to);
    return status;
}
