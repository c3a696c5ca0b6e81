/*
 * A mailbox: a bounded queue of pointers from any thread to one reader, with an eventfd to wait on. A burst
 * of posts costs one wake. The items are the users'; the mailbox never frees one.
 */
#ifndef IMD_MAILBOX_H
#define IMD_MAILBOX_H

#include <stddef.h>

struct mailbox;

int mailbox_new(struct mailbox **out, size_t capacity); /* 0, -ENOMEM, -EMFILE … */
void mailbox_free(struct mailbox *m); /* NULL is fine; the queue must be empty or owned elsewhere */

/* Any thread. 0; -EAGAIN: full, the item was not taken. */
int mailbox_post(struct mailbox *m, void *item);

/* Likewise: all of them, with one wake, or none. */
int mailbox_post_all(struct mailbox *m, void *const *items, size_t n);

/* The reader: takes up to max items, oldest first, and returns how many; clears the wake when it empties the
 * queue. */
size_t mailbox_take(struct mailbox *m, void **items, size_t max);

int mailbox_fd(const struct mailbox *m); /* readable while items wait */

#endif
