#include "base64.h"

#include <stdint.h>
#include <string.h>

static int digit_of(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* Four digits; '=' in place of the last one or two. Gives how many bytes they were, 0: none. */
static size_t decode_group(const char *text, unsigned char *out)
{
    uint32_t bits = 0;
    size_t bytes = text[3] != '=' ? 3 : text[2] != '=' ? 2 : 1;
    for (size_t i = 0; i < 4; i++) {
        int digit = i > bytes ? 0 : digit_of(text[i]);
        if (digit < 0)
            return 0;
        bits = bits << 6 | (uint32_t)digit;
    }
    for (size_t i = 0; i < bytes; i++)
        out[i] = (unsigned char)(bits >> (16 - 8 * i));
    return bytes;
}

bool base64_decode(const char *text, unsigned char *out, size_t *size)
{
    size_t len = strlen(text);
    *size = 0;
    if (len % 4 != 0)
        return false;
    for (const char *end = text + len; text < end; text += 4) {
        size_t bytes = decode_group(text, out + *size);
        if (bytes == 0 || (bytes < 3 && text + 4 < end))
            return false;
        *size += bytes;
    }
    return true;
}
