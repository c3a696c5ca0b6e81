/* The request line of a send, and the answer to it. */
#ifndef LOAD_ANSWER_H
#define LOAD_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An id bears the slot that it is open in, and the number of the send. */
struct send_id {
    unsigned slot;
    uint64_t number;
};
#define SLOTS_MAX 10000

struct send_template {
    char *bytes;
    size_t len, id_at, counter_at;
    const char *content; /* its member `content`, as far as the counter */
    size_t content_len;
    size_t answer_at; /* where the last answer had that */
};

/* The payload is that of an event line of `size` bytes. */
void send_template_init(struct send_template *t, size_t size);
void send_template_deinit(struct send_template *t);
/* Writes t->len bytes. */
void send_write(const struct send_template *t, char *to, struct send_id id);

/* The id of an answer line, false: there is none of ours. */
bool answer_id(const char *line, size_t len, struct send_id *id);
/* Whether the line, whose id was read, is a success with our content and the number of the id. */
bool answer_check(struct send_template *t, const char *line, size_t len, struct send_id id);

#endif
