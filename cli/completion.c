#include "completion.h"

#include <imctl.h>

#include <string.h>

static const char *event_asked_for(int kind)
{
    return kind < IMCTL_EVENT_GAP ? imctl_event_word(kind) : NULL; /* a gap comes unasked */
}

static const char *outbox_word(int index)
{
    static const char *const words[] = {"list", "show", "cancel", NULL};
    return words[index];
}

static const char *since_word(int index)
{
    return index == 0 ? "earliest" : NULL;
}

static const struct value_row {
    const char *argument;
    enum value_kind kind;
    const char *(*word)(int index); /* NULL behind the last */
} values[] = {
    {"FILE", VALUE_FILE, NULL},
    {"PATH", VALUE_FILE, NULL},
    {"DIR", VALUE_FOLDER, NULL},
    {"CMD", VALUE_PROGRAM, NULL},
    {"ACCOUNT", VALUE_ACCOUNT, NULL},
    {"EVENT", VALUE_WORDS, event_asked_for},
    {"STATE[:SECONDS]", VALUE_WORDS, imctl_state_word},
    {"CONVERSATION", VALUE_WORDS, imctl_conversation_word},
    {"TYPE", VALUE_WORDS, imctl_type_word},
    {"SEQ|TIME|earliest", VALUE_WORDS, since_word},
    {"[list|show ID|cancel ID]", VALUE_WORDS, outbox_word},
};

static const struct value_row *value_row(const char *argument)
{
    for (size_t i = 0; argument && i < sizeof(values) / sizeof(values[0]); i++)
        if (strcmp(values[i].argument, argument) == 0)
            return &values[i];
    return NULL;
}

enum value_kind value_kind(const char *argument)
{
    const struct value_row *v = value_row(argument);
    return v ? v->kind : VALUE_FREE;
}

void value_words(const char *argument, FILE *to)
{
    const struct value_row *v = value_row(argument);
    const char *word;
    for (int i = 0; v && v->word && (word = v->word(i)); i++)
        fprintf(to, "%s%s", i ? " " : "", word);
}

void quoted(const char *text, const char *escapes, FILE *to)
{
    fputc('\'', to);
    for (; *text; text++) {
        if (strchr(escapes, *text))
            fputc('\\', to);
        else if (*text == '\'')
            fputs("'\\'", to);
        fputc(*text, to);
    }
    fputc('\'', to);
}
