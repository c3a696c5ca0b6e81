/* The table of error.h as an array; reason, code, exit status and sentence of an error stand in one row. */
#include "error.h"

#include <string.h>

struct error_row {
    const char *reason;
    int code;
    int exit_status;
    const char *sentence;
};

#define ROW(id, reason, code, exit_status, sentence) [id] = {reason, code, exit_status, sentence},
static const struct error_row errors[] = {ERRORS(ROW)};
#undef ROW

const char *error_reason(enum error e)
{
    return errors[e].reason;
}

int error_code(enum error e)
{
    return errors[e].code;
}

int error_exit_status(enum error e)
{
    return errors[e].exit_status;
}

const char *error_sentence(enum error e)
{
    return errors[e].sentence;
}

/* Success is no error that anybody names: both searches begin behind it. */
enum error error_from_reason(const char *reason, size_t len)
{
    for (size_t i = ERROR_NONE + 1; i < ERROR_COUNT; i++)
        if (strlen(errors[i].reason) == len && memcmp(errors[i].reason, reason, len) == 0)
            return (enum error)i;
    return ERROR_INTERNAL;
}

enum error error_from_code(long long code)
{
    for (size_t i = ERROR_NONE + 1; i < ERROR_COUNT; i++)
        if (errors[i].code == code)
            return (enum error)i;
    return ERROR_INTERNAL;
}
