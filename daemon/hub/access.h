/*
 * Access: who may do what. For each right there is a list of users, groups or everybody; root and the user
 * that imd runs as have all rights. It knows numbers only: names are the configuration's. Pure.
 */
#ifndef IMD_ACCESS_H
#define IMD_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* X(enumerator, key of imd.conf, field of struct access) */
#define RIGHTS(X)                          \
    X(RIGHT_RECEIVE, "Receive", receivers) \
    X(RIGHT_SEND, "Send", senders)         \
    X(RIGHT_CONTROL, "Control", controllers)

#define RIGHT_BIT(id, key, field) id##_BIT,
enum right_bit { RIGHTS(RIGHT_BIT) RIGHT_COUNT };
#undef RIGHT_BIT

/* As a set; RIGHT_NONE: anybody may. */
#define RIGHT_VALUE(id, key, field) id = 1 << id##_BIT,
enum right { RIGHT_NONE = 0, RIGHTS(RIGHT_VALUE) RIGHT_ALL = (1 << RIGHT_COUNT) - 1 };
#undef RIGHT_VALUE

enum access_kind { ACCESS_EVERYBODY, ACCESS_USER, ACCESS_GROUP };

struct access_entry {
    enum access_kind kind;
    id_t id; /* uid or gid */
};

struct access_list {
    const struct access_entry *entries; /* the caller's */
    size_t count;
};

struct access {
    uid_t owner; /* the user that imd runs as */
#define ACCESS_MEMBER(id, key, field) struct access_list field;
    RIGHTS(ACCESS_MEMBER)
#undef ACCESS_MEMBER
};

/* The set of rights of a process with this user and these groups. */
unsigned access_rights(const struct access *a, uid_t uid, const gid_t *gids, size_t count);

/* Whether a list names a group: if not, nobody's groups need be known. */
bool access_names_groups(const struct access *a);

/* The key of imd.conf that has the list of this one right. */
const char *right_key(enum right right);

#endif
