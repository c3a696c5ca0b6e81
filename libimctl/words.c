/* The vocabulary and the table of errors, as far as programs see them. */
#include "imctl.h"

#include "error.h"
#include "path.h"
#include "vocabulary.h"

#include <errno.h>
#include <string.h>

static bool error_known(enum imctl_error e)
{
    return (unsigned)e < ERROR_COUNT;
}

const char *imctl_error_reason(enum imctl_error e)
{
    return error_reason(error_known(e) ? (enum error)e : ERROR_INTERNAL);
}

const char *imctl_error_sentence(enum imctl_error e)
{
    return error_sentence(error_known(e) ? (enum error)e : ERROR_INTERNAL);
}

int imctl_error_exit_status(enum imctl_error e)
{
    return error_exit_status(error_known(e) ? (enum error)e : ERROR_INTERNAL);
}

const char *imctl_conversation_word(int conversation)
{
    return conversation_type_word(conversation);
}

const char *imctl_state_word(int index)
{
    return index >= 0 && index < LINK_STATE_COUNT ? link_state_word((enum link_state)index) : NULL;
}

const char *imctl_event_word(int kind)
{
    return kind >= 0 && kind < EVENT_KIND_COUNT ? event_kind_word((enum event_kind)kind) : NULL;
}

const char *imctl_type_word(int index)
{
    return index >= 0 && index < MESSAGE_TYPE_COUNT ? message_type_word((enum message_type)index) : NULL;
}

int imctl_conversation_parse(const char *word)
{
    return conversation_type_parse(word, strlen(word));
}

const char *imctl_type_short(const char *wire)
{
    if (strcmp(wire, MESSAGE_TYPE_TEXT_ALIAS) == 0)
        return message_type_word(MESSAGE_TYPE_TEXT);
    for (int t = 0; t < MESSAGE_TYPE_COUNT; t++)
        if (strcmp(wire, message_type_wire((enum message_type)t)) == 0)
            return message_type_word((enum message_type)t);
    return wire;
}

const char *imctl_version(void)
{
    return IMD_VERSION;
}

int imctl_socket_path(const char *account, char *out, size_t size)
{
    char path[SOCKET_PATH_MAX + 1];
    int error = socket_path_connect(account ? account : ACCOUNT_DEFAULT, path);
    if (error < 0)
        return error;
    if (strlen(path) >= size)
        return -ENAMETOOLONG;
    strcpy(out, path);
    return 0;
}
