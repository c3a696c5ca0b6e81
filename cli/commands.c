#include "command.h"

#include <string.h>

const struct command commands[] = {
    {"status", NULL, 0, 0, "show the link to the server; exit 0 when connected, 69 otherwise", cmd_status},
    {"send", "[TEXT|-]", 0, 1, "send a text (-: from standard input) and wait for the server's ack", cmd_send},
    {"signal", "NAME", 1, 1, "send a signal message and wait for the server's ack", cmd_signal},
    {"listen", NULL, 0, 0, "print events as they come", cmd_listen},
    {"history", NULL, 0, 0, "print the last events that imd has kept", cmd_history},
    {"outbox", "[list|show ID|cancel ID]", 0, 2, "list, show or cancel messages that were sent with --queue",
     cmd_outbox},
    {"connect", NULL, 0, 0, "connect to the server", cmd_link},
    {"disconnect", NULL, 0, 0, "disconnect and stay so until connect", cmd_link},
    {"reconnect", NULL, 0, 0, "disconnect and connect anew", cmd_link},
    {"stats", NULL, 0, 0, "print the daemon's counters", cmd_stats},
    {"chat", NULL, 0, 0, "type lines that are sent, and see what comes", cmd_chat},
};

const size_t command_count = sizeof(commands) / sizeof(commands[0]);

const struct command *command_find(const char *name)
{
    for (size_t i = 0; i < command_count; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

unsigned command_bit(const struct command *c)
{
    return 1u << (c - commands);
}
