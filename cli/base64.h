/* Base64 as in RFC 4648, with padding. */
#ifndef IMCTL_BASE64_H
#define IMCTL_BASE64_H

#include <stdbool.h>
#include <stddef.h>

/* Decodes text into out, which has room for three quarters of its length. false: it is no base64. */
bool base64_decode(const char *text, unsigned char *out, size_t *size);

#endif
