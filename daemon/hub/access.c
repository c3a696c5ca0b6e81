#include "access.h"

static bool is_group(const gid_t *gids, size_t count, gid_t gid)
{
    for (size_t i = 0; i < count; i++)
        if (gids[i] == gid)
            return true;
    return false;
}

static bool is_listed(const struct access_list *l, uid_t uid, const gid_t *gids, size_t count)
{
    for (const struct access_entry *e = l->entries; e < l->entries + l->count; e++)
        if (e->kind == ACCESS_EVERYBODY || (e->kind == ACCESS_USER && e->id == uid) ||
            (e->kind == ACCESS_GROUP && is_group(gids, count, e->id)))
            return true;
    return false;
}

unsigned access_rights(const struct access *a, uid_t uid, const gid_t *gids, size_t count)
{
    unsigned rights = 0;

    if (uid == 0 || uid == a->owner)
        return RIGHT_ALL;
#define RIGHT_LOOK(id, key, field)              \
    if (is_listed(&a->field, uid, gids, count)) \
        rights |= id;
    RIGHTS(RIGHT_LOOK)
#undef RIGHT_LOOK
    return rights;
}

static bool has_group(const struct access_list *l)
{
    for (size_t i = 0; i < l->count; i++)
        if (l->entries[i].kind == ACCESS_GROUP)
            return true;
    return false;
}

bool access_names_groups(const struct access *a)
{
    bool names = false;

#define GROUP_LOOK(id, key, field) names |= has_group(&a->field);
    RIGHTS(GROUP_LOOK)
#undef GROUP_LOOK
    return names;
}

const char *right_key(enum right right)
{
    static const char *const keys[] = {
#define RIGHT_KEY(id, key, field) [id##_BIT] = key,
        RIGHTS(RIGHT_KEY)
#undef RIGHT_KEY
    };

    return keys[__builtin_ctz(right)];
}
