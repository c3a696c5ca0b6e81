/* A command of imctl: one row of the table in commands.c, one function in a cmd_*.c, its options in
 * options.c. */
#ifndef IMCTL_COMMAND_H
#define IMCTL_COMMAND_H

#include "moment.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STATUS_USAGE 64 /* EX_USAGE; every other status comes from imctl_error_exit_status */

/* Which commands an option belongs to; the order is that of the table. */
#define COMMAND_STATUS (1u << 0)
#define COMMAND_SEND (1u << 1)
#define COMMAND_SIGNAL (1u << 2)
#define COMMAND_LISTEN (1u << 3)
#define COMMAND_HISTORY (1u << 4)
#define COMMAND_OUTBOX (1u << 5)
#define COMMAND_CONNECT (1u << 6)
#define COMMAND_DISCONNECT (1u << 7)
#define COMMAND_RECONNECT (1u << 8)
#define COMMAND_STATS (1u << 9)
#define COMMAND_CHAT (1u << 10)
#define COMMAND_ANY (~0u) /* also accepted in front of the command */

struct words {
    const char **at;
    size_t count;
};

/* What the command line says. Absent: NULL, false, 0; times: -1. */
struct arguments {
    const char *account, *socket;
    bool json, help, version;
    const char *wait; /* STATE[:SECONDS] */
    const char *to, *from, *conversation, *type, *id;
    int64_t timeout_ms, expires_ms;
    bool queue;
    struct words sets;
    const char *content, *raw, *image, *file;
    bool lines;
    uint64_t count;
    int64_t listen_ms;
    struct moment since, until;
    bool reverse;
    bool quiet, prometheus;
    const char *consumer;
    const char *format, *exec, *save_files;
    uint64_t jobs;
    bool reconnect;
    struct words events;
    struct words types, senders, conversations, signals; /* what events must match */
    const struct command *command;
    char **operands; /* ended by NULL */
};

struct command {
    const char *name;
    const char *operand;  /* for the help; NULL: it takes none */
    unsigned least, most; /* how many it takes */
    const char *sentence;
    int (*run)(const struct arguments *a); /* gives the exit status */
};

extern const struct command commands[];
extern const size_t command_count;

const struct command *command_find(const char *name); /* NULL: none */
unsigned command_bit(const struct command *c);

int cmd_status(const struct arguments *a);
int cmd_send(const struct arguments *a);
int cmd_signal(const struct arguments *a);
int cmd_listen(const struct arguments *a);
int cmd_history(const struct arguments *a);
int cmd_outbox(const struct arguments *a);
int cmd_link(const struct arguments *a); /* connect, disconnect, reconnect */
int cmd_stats(const struct arguments *a);
int cmd_chat(const struct arguments *a);

#endif
