/*
 * File descriptors that clients pass with a line (SCM_RIGHTS): each read from a socket may bring a lot of
 * them, which belong to the line that its last byte is part of. They are read and closed by tasks (task.h),
 * never on the loop: a file may lie on a file system that does not answer. How many there can be at a time is
 * bounded, for all and for each user; what comes beyond is dropped by the kernel.
 */
#ifndef IMD_PASSED_H
#define IMD_PASSED_H

#include "error.h"
#include "task.h"
#include "vocabulary.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

struct client;
struct encode_files;
struct hub;

struct passed {
    struct task task; /* its first member: closes them, when nobody wants them */
    struct hub *hub;
    struct passed *prev, *next; /* all that there are */
    struct passed *later;       /* the same client's next lot */
    uid_t uid;
    uint64_t at; /* place in the client's stream behind the read that brought them */
    bool lost;   /* there were more than can be taken */
    unsigned count;
    int fd[LINE_FDS_MAX]; /* -1: closed */
};

#define PASSED_MAX 128 /* lots, at a time */
#define PASSED_PER_USER_MAX 16

/* What recvmsg puts descriptors into. */
struct passed_room {
    _Alignas(struct cmsghdr) char bytes[CMSG_SPACE(sizeof(int) * LINE_FDS_MAX)];
};

/* Before a recvmsg for this client, and behind one that brought something: a lot, which joins the client's.
 */
void passed_prepare(const struct client *c, struct msghdr *m, struct passed_room *room);
void passed_take(struct client *c, const struct msghdr *m);
/* Such a lot whose descriptors are lost, at this place of its stream. */
void passed_lost(struct client *c, uint64_t at);

/* Those of the line that was given out last, as one lot, or NULL; they are the caller's. */
struct passed *passed_of_line(struct client *c);
void passed_drop(struct client *c); /* nobody wants any of the client's */

/* What the files are before they are read, without waiting for any: ERROR_NONE, or why they cannot be sent.
 */
enum error passed_measure(const struct passed *p, size_t max, struct encode_files *out, char *detail,
                          size_t n);

void passed_close(struct passed *p);   /* on a task */
void passed_free(struct passed *p);    /* once they are closed */
void passed_discard(struct passed *p); /* nobody wants them; NULL is fine */
void passed_forget(struct hub *h);     /* at the end: none is waited for */

#endif
