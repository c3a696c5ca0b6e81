#include "draft.h"

#include "attachment.h"
#include "options.h"
#include "output.h"
#include "reach.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- What may not stand together ---- */

#define GIVEN_TEXT (1u << 0)
#define GIVEN_CONTENT (1u << 1)
#define GIVEN_RAW (1u << 2)
#define GIVEN_IMAGE (1u << 3)
#define GIVEN_FILE (1u << 4)
#define GIVEN_CONTENT_KEY (1u << 5)
#define GIVEN_LINES (1u << 6)
#define GIVEN_JOBS (1u << 7)
#define GIVEN_ID (1u << 8)
#define GIVEN_QUEUE (1u << 9)
#define GIVEN_EXPIRES (1u << 10)
#define GIVEN_TIMEOUT (1u << 11)
#define GIVEN_OBJECTS (1u << 12) /* --lines with --json */
#define GIVEN_ATTACHMENT (GIVEN_IMAGE | GIVEN_FILE)
#define GIVEN_WHOLE (GIVEN_CONTENT | GIVEN_RAW | GIVEN_ATTACHMENT)

static const struct {
    unsigned one, other; /* of both at least one */
    const char *sentence;
} contradictions[] = {
    {GIVEN_LINES, GIVEN_TEXT, "--lines reads its texts from standard input; TEXT is not for it"},
    {GIVEN_LINES, GIVEN_WHOLE,
     "--lines makes each message of a line; --content, --raw and files are not for it"},
    {GIVEN_LINES, GIVEN_ID, "--lines sends many messages; one messageId is not for it"},
    {GIVEN_OBJECTS, GIVEN_CONTENT_KEY,
     "with --lines and --json the content is in the lines; --set content.KEY is not for it"},
    {GIVEN_IMAGE, GIVEN_FILE, "--image and --file: a message has one file"},
    {GIVEN_ATTACHMENT, GIVEN_CONTENT | GIVEN_RAW,
     "--image and --file give the content; --content and --raw are not for them"},
    {GIVEN_ATTACHMENT, GIVEN_TEXT, "a file goes without TEXT; --set content.KEY=TEXT puts one beside it"},
    {GIVEN_RAW, GIVEN_CONTENT, "--raw gives the whole message; --content is not for it"},
    {GIVEN_RAW, GIVEN_TEXT, "--raw gives the whole message; TEXT is not for it"},
    {GIVEN_RAW, GIVEN_CONTENT_KEY, "--raw gives the whole message; --set content.KEY is not for it"},
    {GIVEN_CONTENT, GIVEN_TEXT, "--content gives the whole content; TEXT is not for it"},
    {GIVEN_CONTENT, GIVEN_CONTENT_KEY, "--content gives the whole content; --set content.KEY is not for it"},
    {GIVEN_TIMEOUT, GIVEN_QUEUE, "--timeout is not for --queue"},
};

static const struct {
    unsigned given, needed;
    const char *sentence;
} needs[] = {
    {GIVEN_EXPIRES, GIVEN_QUEUE, "--expires is for --queue"},
    {GIVEN_JOBS, GIVEN_LINES, "--jobs is for --lines"},
};

#define CONTENT_PREFIX "content."

static bool is_content_key(const char *word)
{
    return strncmp(word, CONTENT_PREFIX, strlen(CONTENT_PREFIX)) == 0;
}

static unsigned given_sets(const struct arguments *a)
{
    unsigned given = 0;
    for (size_t i = 0; i < a->sets.count; i++)
        given |= is_content_key(a->sets.at[i]) ? GIVEN_CONTENT_KEY : 0;
    return given;
}

/* `send --lines -` says the same as `send --lines`. */
static bool names_lines(const struct arguments *a)
{
    return a->lines && strcmp(a->operands[0], "-") == 0;
}

static unsigned given_options(const struct arguments *a)
{
    const struct {
        bool is;
        unsigned bit;
    } all[] = {
        {a->operands[0] && !names_lines(a), GIVEN_TEXT},
        {a->content, GIVEN_CONTENT},
        {a->raw, GIVEN_RAW},
        {a->image, GIVEN_IMAGE},
        {a->file, GIVEN_FILE},
        {a->lines, GIVEN_LINES},
        {a->jobs, GIVEN_JOBS},
        {a->id, GIVEN_ID},
        {a->queue, GIVEN_QUEUE},
        {a->expires_ms > 0, GIVEN_EXPIRES},
        {a->timeout_ms > 0, GIVEN_TIMEOUT},
        {a->lines && a->json, GIVEN_OBJECTS},
    };
    unsigned given = given_sets(a);
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        given |= all[i].is ? all[i].bit : 0;
    return given;
}

static const char *contradiction_find(unsigned given)
{
    for (size_t i = 0; i < sizeof(needs) / sizeof(needs[0]); i++)
        if ((given & needs[i].given) && !(given & needs[i].needed))
            return needs[i].sentence;
    for (size_t i = 0; i < sizeof(contradictions) / sizeof(contradictions[0]); i++)
        if ((given & contradictions[i].one) && (given & contradictions[i].other))
            return contradictions[i].sentence;
    return NULL;
}

static int options_check(const struct arguments *a)
{
    unsigned given = given_options(a);
    const char *why = contradiction_find(given);
    if (!(given & (GIVEN_TEXT | GIVEN_WHOLE | GIVEN_CONTENT_KEY | GIVEN_LINES)))
        return usage(a->command, "missing", "TEXT|-");
    if (!why)
        return 0;
    complain("%s; see 'imctl %s --help'", why, a->command->name);
    return STATUS_USAGE;
}

/* ---- --set ---- */

struct setting {
    bool content; /* a key of content */
    bool json;
    char *key; /* to be freed */
    const char *value;
};

/* KEY=VALUE or KEY:=JSON. 0, -EINVAL or -ENOMEM. */
static int setting_parse(struct setting *s, const char *word)
{
    const char *equals = strchr(word, '=');
    s->content = is_content_key(word);
    word += s->content ? strlen(CONTENT_PREFIX) : 0;
    if (!equals || equals <= word)
        return -EINVAL;
    s->json = equals[-1] == ':';
    s->value = equals + 1;
    size_t len = (size_t)(equals - word) - s->json;
    s->key = len > 0 ? strndup(word, len) : NULL;
    return len == 0 ? -EINVAL : s->key ? 0 : -ENOMEM;
}

static int setting_apply(const struct setting *s, struct imctl_message *m)
{
    static int (*const setters[2][2])(struct imctl_message * m, const char *key, const char *value) = {
        {imctl_message_set_string, imctl_message_set_json},
        {imctl_message_set_content_string, imctl_message_set_content_json},
    };
    return setters[s->content][s->json](m, s->key, s->value);
}

static int word_apply(const char *word, struct imctl_message *m)
{
    struct setting s;
    int error = setting_parse(&s, word);
    if (error < 0)
        return error;
    error = setting_apply(&s, m);
    free(s.key);
    return error;
}

/* What is set in another way: the whole content, and the one messageId of many messages. */
static const char *key_refusal(const struct arguments *a, const char *word)
{
    size_t len = strcspn(word, ":=");
    if (len == strlen("content") && strncmp(word, "content", len) == 0)
        return "--content gives the whole content";
    if (a->lines && len == strlen("messageId") && strncmp(word, "messageId", len) == 0)
        return "--lines sends many messages; one messageId is not for it";
    return NULL;
}

static int set_check(const struct arguments *a, const char *word)
{
    struct imctl_message *m = imctl_message_new("text");
    const char *refusal = key_refusal(a, word);
    int error = m ? word_apply(word, m) : -ENOMEM;
    imctl_message_free(m);
    if (error == 0 && !refusal)
        return 0;
    if (error == -ENOMEM)
        return failure_status(error);
    if (error == 0)
        complain("--set '%s': %s; see 'imctl %s --help'", word, refusal, a->command->name);
    else
        complain("'%s' is no KEY=VALUE or KEY:=JSON; see 'imctl %s --help'", word, a->command->name);
    return STATUS_USAGE;
}

static int sets_check(const struct arguments *a)
{
    int status = 0;
    for (size_t i = 0; i < a->sets.count && status == 0; i++)
        status = set_check(a, a->sets.at[i]);
    return status;
}

/* ---- The whole ---- */

/* The error that a message remembers; setting what is the default tells it. */
static int message_error(struct imctl_message *m)
{
    return m ? imctl_message_set_timeout(m, 0) : -ENOMEM;
}

/* `content` must be an object, which a message by itself is. */
static int object_check(const struct arguments *a, const char *option, const char *json)
{
    struct imctl_message *m = json ? imctl_message_json(json) : NULL;
    int error = json ? message_error(m) : 0;
    imctl_message_free(m);
    if (error == 0 || error == -ENOMEM)
        return error < 0 ? failure_status(error) : 0;
    complain("the value of --%s is no JSON object; see 'imctl %s --help'", option, a->command->name);
    return STATUS_USAGE;
}

static int conversation_check(const struct arguments *a)
{
    if (!a->conversation || imctl_conversation_parse(a->conversation) >= 0)
        return 0;
    complain("'%s' is no conversation type; see 'imctl %s --help'", a->conversation, a->command->name);
    return STATUS_USAGE;
}

int draft_check(const struct arguments *a)
{
    int status = options_check(a);
    if (status == 0)
        status = conversation_check(a);
    if (status == 0)
        status = sets_check(a);
    if (status == 0)
        status = object_check(a, "content", a->content);
    return status ? status : object_check(a, "raw", a->raw);
}

/* All of standard input, without its last line break, as $(…) takes it. 0 or a negative errno; -EILSEQ: it
 * holds a NUL, which no text does. */
static int read_text(char **out)
{
    char *text = NULL;
    size_t size = 0;
    ssize_t len = getdelim(&text, &size, '\0', stdin);
    int error = ferror(stdin) ? -errno : 0;
    if (len > 0 && text[len - 1] == '\0')
        error = -EILSEQ;
    if (error == 0 && len < 0) /* nothing at all */
        error = (*out = strdup("")) ? 0 : -ENOMEM;
    else if (error == 0) {
        if (text[len - 1] == '\n')
            text[len - 1] = '\0';
        *out = text;
        return 0;
    }
    free(text);
    return error;
}

static int text_message(const char *text, struct imctl_message **out)
{
    char *read = NULL;
    int error = strcmp(text, "-") == 0 ? read_text(&read) : 0;
    if (error < 0)
        return failure_status(error);
    *out = imctl_message_text(read ? read : text);
    free(read);
    return *out ? 0 : failure_status(-ENOMEM);
}

static int content_message(const char *json, struct imctl_message **out)
{
    *out = imctl_message_new("text");
    if (*out && json)
        imctl_message_set_json(*out, "content", json);
    return *out ? 0 : failure_status(-ENOMEM);
}

int draft_message(const struct arguments *a, struct imctl_message **out)
{
    if (a->operands[0])
        return text_message(a->operands[0], out);
    if (a->image)
        return attachment_message(a->image, "image", out);
    if (a->file)
        return attachment_message(a->file, "file", out);
    if (!a->raw)
        return content_message(a->content, out);
    *out = imctl_message_json(a->raw);
    return *out ? 0 : failure_status(-ENOMEM);
}

int draft_dress(struct imctl_message *m, const struct arguments *a)
{
    if (a->to)
        imctl_message_set_to(m, a->to);
    if (a->from)
        imctl_message_set_from(m, a->from);
    if (a->id)
        imctl_message_set_id(m, a->id);
    if (a->type)
        imctl_message_set_type(m, a->type);
    if (a->conversation)
        imctl_message_set_conversation(m, imctl_conversation_parse(a->conversation));
    for (size_t i = 0; i < a->sets.count; i++)
        word_apply(a->sets.at[i], m);
    if (a->queue)
        return imctl_message_set_queue(m, a->expires_ms > 0 ? a->expires_ms : 0);
    return imctl_message_set_timeout(m, a->timeout_ms > 0 ? a->timeout_ms : 0);
}

struct imctl_message *draft_of_line(const struct arguments *a, const char *line)
{
    struct imctl_message *m = a->json ? imctl_message_json(line) : imctl_message_text(line);
    if (m)
        draft_dress(m, a); /* the error sticks */
    return m;
}
