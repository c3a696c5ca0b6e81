/* See notify.h. */
#include "notify.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

int notify_address(struct sockaddr_un *a, socklen_t *len, const char *text)
{
    size_t n = strlen(text);

    if (n < 2 || n >= sizeof a->sun_path || (text[0] != '/' && text[0] != '@'))
        return -EINVAL;
    *a = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(a->sun_path, text, n);
    if (text[0] == '@')
        a->sun_path[0] = '\0';
    *len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + (text[0] == '/'));
    return 0;
}
