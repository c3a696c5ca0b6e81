/*
 * jansson only judges. What is sent is the caller's own text, because jansson cannot hold unsigned 64-bit
 * integers.
 */
#include "judge.h"

#include <jansson.h>

bool json_valid(const char *json, bool object)
{
    size_t flags = JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES;
    json_t *tree = json_loads(json, flags, NULL);
    bool valid = tree && (!object || json_is_object(tree));
    json_decref(tree);
    return valid;
}
