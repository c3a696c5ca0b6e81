/* Whether text that a caller gives as JSON is JSON: strictly, with well-formed UTF-8 and without duplicate
 * keys. */
#ifndef IMCTL_JUDGE_H
#define IMCTL_JUDGE_H

#include <stdbool.h>

bool json_valid(const char *json, bool object); /* `object`: it must be one */

#endif
