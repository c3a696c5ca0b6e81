#include "command.h"

#include <string.h>

const struct command commands[] = {
    {"status", NULL, "show the link to the server; exit 0 when connected, 69 otherwise", cmd_status},
    {"send", "TEXT|-", "send a text (-: from standard input) and wait for the server's ack", cmd_send},
    {"signal", "NAME", "send a signal message and wait for the server's ack", cmd_signal},
    {"listen", NULL, "print events as they come", cmd_listen},
    {"connect", NULL, "connect to the server", cmd_link},
    {"disconnect", NULL, "disconnect and stay so until connect", cmd_link},
    {"reconnect", NULL, "disconnect and connect anew", cmd_link},
    {"stats", NULL, "print the daemon's counters", cmd_stats},
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
