/* Filters as requests give them: imd-protocol(7), "FILTERS". */
#ifndef IMD_FILTER_PARSE_H
#define IMD_FILTER_PARSE_H

#include "error.h"
#include "filter.h"
#include "scan.h"

#include <stdint.h>

#define FILTER_DETAIL 160

/* ERROR_NONE; else what is wrong in detail. *out is NULL when the object has no list: everything matches. */
enum error filter_parse(struct filter **out, const struct scan *s, uint32_t object,
                        char detail[FILTER_DETAIL]);

#endif
