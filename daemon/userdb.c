#include "userdb.h"

#include "cleanup.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stddef.h>

#define ENTRY_USUAL 1024      /* bytes */
#define ENTRY_MAX (16u << 20) /* a group brings the names of all who are in it */

/* getpwnam_r(3): which of these says that there is no such name depends on the service. */
static bool is_missing(int error)
{
    return error == 0 || error == ENOENT || error == ESRCH || error == EBADF || error == EPERM;
}

static int user_read(const char *name, char *room, size_t size, id_t *id, bool *found)
{
    struct passwd entry, *result = NULL;
    int error = getpwnam_r(name, &entry, room, size, &result);

    *found = result != NULL;
    if (result)
        *id = result->pw_uid;
    return result || is_missing(error) ? 0 : -error;
}

static int group_read(const char *name, char *room, size_t size, id_t *id, bool *found)
{
    struct group entry, *result = NULL;
    int error = getgrnam_r(name, &entry, room, size, &result);

    *found = result != NULL;
    if (result)
        *id = result->gr_gid;
    return result || is_missing(error) ? 0 : -error;
}

typedef int (*entry_read)(const char *name, char *room, size_t size, id_t *id, bool *found);

static int look_up(entry_read read, const char *name, id_t *id, bool *found)
{
    int r = -ERANGE;

    for (size_t size = ENTRY_USUAL; r == -ERANGE && size <= ENTRY_MAX; size *= 4) {
        _cleanup_(freep) char *room = malloc(size);

        r = room ? read(name, room, size, id, found) : -ENOMEM;
    }
    return r;
}

int userdb_user(const char *name, id_t *id, bool *found)
{
    return look_up(user_read, name, id, found);
}

int userdb_group(const char *name, id_t *id, bool *found)
{
    return look_up(group_read, name, id, found);
}
