/*
 * The words of vocabulary.h as arrays, one per list, made from the X-macros. The lists have fewer than twenty
 * words, so that parsing walks them; the daemon's hot path compares no words.
 */
#include "vocabulary.h"

#include <string.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#define WORD(id, word) [id] = word,
static const char *const link_states[] = {LINK_STATES(WORD)};
static const char *const link_reasons[] = {LINK_REASONS(WORD)};
static const char *const outbox_states[] = {OUTBOX_STATES(WORD)};
static const char *const event_kinds[] = {EVENT_KINDS(WORD)};
static const char *const methods[] = {METHODS(WORD)};
#undef WORD

#define WIRE(id, wire, word) [id] = wire,
static const char *const message_wires[] = {MESSAGE_TYPES(WIRE)};
#undef WIRE

#define SHORT(id, wire, word) [id] = word,
static const char *const message_words[] = {MESSAGE_TYPES(SHORT)};
#undef SHORT

#define NUMBERED(id, number, word) [number] = word,
static const char *const conversations[] = {CONVERSATION_TYPES(NUMBERED)};
#undef NUMBERED

static int word_find(const char *const *words, size_t count, const char *word, size_t len)
{
    for (size_t i = 0; i < count; i++)
        if (strlen(words[i]) == len && memcmp(words[i], word, len) == 0)
            return (int)i;
    return -1;
}

const char *message_type_wire(enum message_type t)
{
    return message_wires[t];
}

const char *message_type_word(enum message_type t)
{
    return message_words[t];
}

const char *conversation_type_word(int number)
{
    return number >= 0 && (size_t)number < COUNT_OF(conversations) ? conversations[number] : NULL;
}

const char *link_state_word(enum link_state s)
{
    return link_states[s];
}

const char *link_reason_word(enum link_reason r)
{
    return link_reasons[r];
}

const char *outbox_state_word(enum outbox_state s)
{
    return outbox_states[s];
}

const char *event_kind_word(enum event_kind k)
{
    return event_kinds[k];
}

const char *method_word(enum method m)
{
    return methods[m];
}

int conversation_type_parse(const char *word, size_t len)
{
    return word_find(conversations, COUNT_OF(conversations), word, len);
}

int link_state_parse(const char *word, size_t len)
{
    return word_find(link_states, COUNT_OF(link_states), word, len);
}

int event_kind_parse(const char *word, size_t len)
{
    return word_find(event_kinds, COUNT_OF(event_kinds), word, len);
}

int method_parse(const char *word, size_t len)
{
    return word_find(methods, COUNT_OF(methods), word, len);
}

const char *message_type_from_word(const char *word, size_t len)
{
    int i = word_find(message_words, COUNT_OF(message_words), word, len);
    return i < 0 ? NULL : message_wires[i];
}
