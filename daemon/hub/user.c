#include "user.h"

#include <stdlib.h>
#include <utlist.h>

#define MESSAGE 1000u /* what one takes from the bucket: then a millisecond brings `rate` */

static void bucket_fill(struct send_bucket *b, unsigned rate, uint64_t now_ms)
{
    uint64_t full = (uint64_t)rate * MESSAGE, since_ms = now_ms - b->at_ms;

    if (b->level < full && since_ms < 1000)
        b->level += since_ms * rate;
    else
        b->level = full; /* a second fills it; and a lower rate takes what is above */
    if (b->level > full)
        b->level = full;
    b->at_ms = now_ms;
}

static bool is_needed(const struct users *u, struct user *user, uint64_t now_ms)
{
    if (user->clients || user->pending || user->stored)
        return true;
    bucket_fill(&user->bucket, u->rate, now_ms);
    return user->bucket.level < (uint64_t)u->rate * MESSAGE;
}

static void sweep(struct users *u, uint64_t now_ms)
{
    struct user *user, *next;

    DL_FOREACH_SAFE(u->list, user, next)
        if (!is_needed(u, user, now_ms)) {
            DL_DELETE(u->list, user);
            free(user);
        }
}

void users_deinit(struct users *u)
{
    struct user *user, *next;

    DL_FOREACH_SAFE(u->list, user, next)
        free(user);
    u->list = NULL;
}

static struct user *user_find(const struct users *u, uid_t uid)
{
    struct user *user;

    DL_FOREACH(u->list, user)
        if (user->uid == uid)
            return user;
    return NULL;
}

static struct user *user_add(struct users *u, uid_t uid, uint64_t now_ms)
{
    struct user *user = calloc(1, sizeof *user);

    if (!user)
        return NULL;
    sweep(u, now_ms);
    user->uid = uid;
    user->bucket.level = UINT64_MAX; /* full, whatever the rate */
    DL_APPEND(u->list, user);
    return user;
}

struct user *users_join(struct users *u, uid_t uid, uint64_t now_ms)
{
    struct user *user = user_find(u, uid);

    if (!user)
        user = user_add(u, uid, now_ms);
    if (user)
        user->clients++;
    return user;
}

void users_leave(struct users *u, struct user *user, uint64_t now_ms)
{
    if (--user->clients == 0)
        sweep(u, now_ms);
}

void users_ask(struct user *user, bool stored)
{
    ++*(stored ? &user->stored : &user->pending);
}

void users_answered(struct users *u, struct user *user, bool stored, uint64_t now_ms)
{
    if (--*(stored ? &user->stored : &user->pending) == 0 && user->clients == 0)
        sweep(u, now_ms);
}

bool users_may_send(const struct users *u, struct user *user, uint64_t now_ms)
{
    if (!u->rate)
        return true;
    bucket_fill(&user->bucket, u->rate, now_ms);
    return user->bucket.level >= MESSAGE;
}

void users_sent(const struct users *u, struct user *user)
{
    if (u->rate)
        user->bucket.level -= MESSAGE;
}
