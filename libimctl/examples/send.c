/* send TEXT: sends a text and prints its messageId when the server has answered. */
#include <errno.h>
#include <imctl.h>
#include <stdio.h>
#include <string.h>

/* 0: the server has it. */
static int send_text(struct imctl *c, const char *text)
{
    struct imctl_message *m = imctl_message_text(text);
    struct imctl_reply *reply = NULL;
    int error = m ? imctl_send_wait(c, m, -1, &reply) : -ENOMEM;
    int status = 1;

    if (error < 0)
        fprintf(stderr, "not sent: %s\n", strerror(-error));
    else if (imctl_reply_error(reply) != IMCTL_OK)
        fprintf(stderr, "not sent: %s\n", imctl_reply_message(reply));
    else
        status = puts(imctl_reply_id(reply)) < 0;
    imctl_reply_free(reply);
    imctl_message_free(m);
    return status;
}

int main(int argc, char **argv)
{
    struct imctl *c = NULL;
    int error = imctl_open(NULL, 5000, &c);

    if (error < 0) {
        fprintf(stderr, "imd cannot be reached: %s\n", strerror(-error));
        return 1;
    }
    int status = send_text(c, argc > 1 ? argv[1] : "hello");
    imctl_close(c);
    return status;
}
