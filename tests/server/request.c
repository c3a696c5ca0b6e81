#include "request.h"

#include <stdarg.h>

const char *request_unpack(json_t *request, const char *format, ...)
{
    static json_error_t error;
    va_list arguments;
    int result;

    va_start(arguments, format);
    result = json_vunpack_ex(request, &error, 0, format, arguments);
    va_end(arguments);
    return result ? error.text : NULL;
}
