/* Requests: one table row a method; see imd-protocol(7). */
#ifndef IMD_REQUEST_H
#define IMD_REQUEST_H

#include "vocabulary.h"

#include <stddef.h>

struct hub;
struct client;
struct passed;

/* One line of a client, without its '\n' (which must be readable behind it), and the descriptors that came
 * with it, which are taken over; NULL: none. */
void request_handle(struct hub *h, struct client *c, const char *line, size_t len, struct passed *passed);
void request_too_long(struct hub *h, struct client *c);

/* What the process before can no more answer: it may have been done, or not. message_id: of what it sent;
 * empty: it sent nothing, and may be asked again. */
void request_answer_forsaken(struct client *c, const char *id, size_t id_len, const char *message_id,
                             size_t message_id_len);
/* The id that the answer to a request line bears; 0: it is a notification. */
size_t request_id(struct hub *h, const char *line, size_t len, char id[REQUEST_ID_MAX]);

/* A client that is over a limit is told so, before it is closed. */
void request_refuse_client(struct client *c, const char *limit);

#endif
