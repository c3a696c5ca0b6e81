/*
 * Where the socket of an account is, for daemon and programs alike. Source: imd-protocol(7), "Local socket".
 */
#ifndef IMD_PROTOCOL_PATH_H
#define IMD_PROTOCOL_PATH_H

#include <stdbool.h>
#include <stddef.h>

#define ACCOUNT_DEFAULT "default"
#define ACCOUNT_MAX 64
#define SOCKET_PATH_MAX 107 /* sockaddr_un.sun_path without its NUL */
#define SOCKET_ENVIRONMENT "IMCTL_SOCKET"

/* Letters, digits, '.', '_', '-' and '@'; not empty, no leading '.', at most ACCOUNT_MAX bytes. */
bool account_name_valid(const char *name);

/*
 * Writes the system's socket path (/run/imd/NAME.sock) or the user's own ($XDG_RUNTIME_DIR/imd/NAME.sock).
 * Returns 0; -EINVAL: bad account name; -ENOENT: XDG_RUNTIME_DIR is not set; -ENAMETOOLONG.
 */
int socket_path_system(const char *account, char out[SOCKET_PATH_MAX + 1]);
int socket_path_user(const char *account, char out[SOCKET_PATH_MAX + 1]);

/*
 * What a program connects to: $IMCTL_SOCKET if set and not empty, else the user's own socket if one exists
 * there, else the system's. Returns as above.
 */
int socket_path_connect(const char *account, char out[SOCKET_PATH_MAX + 1]);

#endif
