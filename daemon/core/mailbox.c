/*
 * A ring of pointers under a mutex, and an eventfd that is readable exactly while the ring is not empty: it
 * is raised by the post that finds the ring empty and cleared by the take that leaves it empty, both under
 * the mutex. So a burst costs one wake, and a reader that polls never sleeps on a full queue nor spins on an
 * empty one.
 */
#include "mailbox.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct mailbox {
    pthread_mutex_t lock;
    int wake;
    size_t capacity, head, count;
    void *items[];
};

int mailbox_new(struct mailbox **out, size_t capacity)
{
    if (capacity == 0 || capacity > SIZE_MAX / sizeof(void *) / 2)
        return -EINVAL;
    struct mailbox *m = calloc(1, sizeof(*m) + capacity * sizeof(void *));
    if (!m)
        return -ENOMEM;
    m->capacity = capacity;
    m->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (m->wake < 0) {
        int r = -errno;
        free(m);
        return r;
    }
    pthread_mutex_init(&m->lock, NULL); /* cannot fail with default attributes */
    *out = m;
    return 0;
}

void mailbox_free(struct mailbox *m)
{
    if (!m)
        return;
    close(m->wake);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

int mailbox_post(struct mailbox *m, void *item)
{
    return mailbox_post_all(m, &item, 1);
}

int mailbox_post_all(struct mailbox *m, void *const *items, size_t n)
{
    int r = -EAGAIN;

    pthread_mutex_lock(&m->lock);
    if (n <= m->capacity - m->count) {
        if (m->count == 0 && n > 0)
            eventfd_write(m->wake, 1); /* from 0 to 1: cannot fail */
        for (size_t i = 0; i < n; i++)
            m->items[(m->head + m->count++) % m->capacity] = items[i];
        r = 0;
    }
    pthread_mutex_unlock(&m->lock);
    return r;
}

size_t mailbox_take(struct mailbox *m, void **items, size_t max)
{
    size_t n = 0;
    eventfd_t raised;

    pthread_mutex_lock(&m->lock);
    for (; n < max && m->count > 0; n++, m->count--) {
        items[n] = m->items[m->head];
        m->head = (m->head + 1) % m->capacity;
    }
    if (n > 0 && m->count == 0)
        eventfd_read(m->wake, &raised);
    pthread_mutex_unlock(&m->lock);
    return n;
}

int mailbox_fd(const struct mailbox *m)
{
    return m->wake;
}
