/* Socket paths are put together here only, so that daemon and programs cannot look in different places. */
#include "path.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SYSTEM_FOLDER "/run"

static bool account_byte_valid(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-' || c == '@';
}

bool account_name_valid(const char *name)
{
    size_t len = strnlen(name, ACCOUNT_MAX + 1);
    if (len == 0 || len > ACCOUNT_MAX || name[0] == '.')
        return false;
    for (size_t i = 0; i < len; i++)
        if (!account_byte_valid(name[i]))
            return false;
    return true;
}

static int path_format(const char *folder, const char *account, char out[SOCKET_PATH_MAX + 1])
{
    if (!account_name_valid(account))
        return -EINVAL;
    int n = snprintf(out, SOCKET_PATH_MAX + 1, "%s/imd/%s.sock", folder, account);
    return n < 0 || n > SOCKET_PATH_MAX ? -ENAMETOOLONG : 0;
}

int socket_path_system(const char *account, char out[SOCKET_PATH_MAX + 1])
{
    return path_format(SYSTEM_FOLDER, account, out);
}

int socket_path_user(const char *account, char out[SOCKET_PATH_MAX + 1])
{
    const char *folder = getenv("XDG_RUNTIME_DIR");
    if (!folder || folder[0] != '/') /* the XDG specification: a relative one is to be ignored */
        return account_name_valid(account) ? -ENOENT : -EINVAL;
    return path_format(folder, account, out);
}

static bool is_socket(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISSOCK(st.st_mode);
}

int socket_path_connect(const char *account, char out[SOCKET_PATH_MAX + 1])
{
    const char *override = getenv(SOCKET_ENVIRONMENT);
    if (!account_name_valid(account))
        return -EINVAL;
    if (override && override[0]) {
        size_t len = strlen(override);
        if (len > SOCKET_PATH_MAX)
            return -ENAMETOOLONG;
        memcpy(out, override, len + 1);
        return 0;
    }
    if (socket_path_user(account, out) == 0 && is_socket(out))
        return 0;
    return socket_path_system(account, out);
}
