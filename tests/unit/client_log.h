/* What the callbacks of a connection wrote, for tests of libimctl: one word or so for each, ended by ';'.
 * imctl.h is included before, by whichever way the test sees it. */
#ifndef CLIENT_LOG_H
#define CLIENT_LOG_H

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static char log_text[4096];

static void log_line(const char *format, ...)
{
    size_t used = strlen(log_text);
    va_list args;
    va_start(args, format);
    vsnprintf(log_text + used, sizeof(log_text) - used, format, args);
    va_end(args);
}

/* The userdata of log_reply. */
static void *named(const char *name)
{
    return (void *)name;
}

static void log_reply(struct imctl *connection, const struct imctl_reply *r, void *name)
{
    log_line("%s:%s;", (const char *)name, imctl_reply_reason(r));
}

static void log_event(struct imctl *connection, const struct imctl_event *e, void *userdata)
{
    log_line("%s %llu;", imctl_event_name(e), (unsigned long long)imctl_event_seq(e));
}

#endif
