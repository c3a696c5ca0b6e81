/*
 * The machine's users and groups by name, as the name service switch gives them: /etc/passwd, LDAP and
 * others. May block for as long as those do. Thread: any.
 */
#ifndef IMD_USERDB_H
#define IMD_USERDB_H

#include <stdbool.h>
#include <sys/types.h>

/* 0, and *id if it was found; or a negative errno: nobody can tell now. */
int userdb_user(const char *name, id_t *id, bool *found);
int userdb_group(const char *name, id_t *id, bool *found);

#endif
