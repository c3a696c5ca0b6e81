/* connect, disconnect, reconnect: the command's name is the protocol's method. */
#include "output.h"
#include "reach.h"

#include <stdio.h>

static void print_state(const struct arguments *a, const struct imctl_reply *r)
{
    const char *state = imctl_reply_string(r, "state");
    if (a->json)
        puts(imctl_reply_json(r, NULL));
    else
        puts(state ? state : "unknown");
}

int cmd_link(const struct arguments *a)
{
    struct imctl *c = NULL;
    struct imctl_reply *r = NULL;
    int status = reach_daemon(a, &c);
    if (status == 0)
        status = reach_call(c, a->command->name, NULL, &r);
    if (status == 0)
        print_state(a, r);
    imctl_reply_free(r);
    imctl_close(c);
    return status;
}
