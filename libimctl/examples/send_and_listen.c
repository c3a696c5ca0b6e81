/* send_and_listen TEXT [COUNT]: sends a text, waits for the server's ack, and prints the messages of others
 * as they come; COUNT: how many before it ends. The same in other languages: send_and_listen.sh, .py and
 * .mjs. */
#include <errno.h>
#include <imctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GONE 69 /* as imctl's exit status */

static int fail(int error)
{
    fprintf(stderr, "send_and_listen: imd: %s\n", strerror(-error));
    return GONE;
}

/* Of a refusal, the exit status that imctl has for it; 0: there is none. */
static int judge(const struct imctl_reply *reply)
{
    enum imctl_error e = imctl_reply_error(reply);

    if (e != IMCTL_OK)
        fprintf(stderr, "send_and_listen: %s\n", imctl_reply_message(reply));
    return e == IMCTL_OK ? 0 : imctl_error_exit_status(e);
}

static int subscribe(struct imctl *c)
{
    struct imctl_selection *s = imctl_selection_new();
    struct imctl_reply *reply = NULL;
    int error = s ? imctl_selection_add_event(s, "MESSAGE") : -ENOMEM;

    if (error == 0)
        error = imctl_subscribe_wait(c, s, -1, &reply);
    int status = error < 0 ? fail(error) : judge(reply);
    imctl_reply_free(reply);
    imctl_selection_free(s);
    return status;
}

static int send_text(struct imctl *c, const char *text)
{
    struct imctl_message *m = imctl_message_text(text);
    struct imctl_reply *reply = NULL;
    int error = m ? imctl_send_wait(c, m, -1, &reply) : -ENOMEM;
    int status = error < 0 ? fail(error) : judge(reply);

    if (status == 0)
        printf("sent as %s\n", imctl_reply_id(reply));
    fflush(stdout);
    imctl_reply_free(reply);
    imctl_message_free(m);
    return status;
}

/* One message; those that came while the ack was waited for are first. */
static int print_next(struct imctl *c)
{
    struct imctl_event *e = NULL;
    int error = imctl_event_wait(c, -1, &e);

    if (error < 0)
        return fail(error);
    const char *from = imctl_event_from(e), *text = imctl_event_text(e);
    printf("%s: %s\n", from ? from : "server", text ? text : "");
    fflush(stdout);
    imctl_event_free(e);
    return 0;
}

int main(int argc, char **argv)
{
    struct imctl *c = NULL;
    long left = argc > 2 ? strtol(argv[2], NULL, 10) : -1;

    if (argc < 2) {
        fputs("usage: send_and_listen TEXT [COUNT]\n", stderr);
        return 64;
    }
    int error = imctl_open(NULL, 5000, &c);
    int status =
        error < 0 ? fail(error) : subscribe(c); /* first: so nothing is missed that comes before the ack */

    if (status == 0)
        status = send_text(c, argv[1]);
    while (status == 0 && left-- != 0)
        status = print_next(c);
    imctl_close(c);
    return status;
}
