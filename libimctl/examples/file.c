/* file PATH [TO]: sends a file, which imd reads itself. */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <fcntl.h>
#include <imctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The message, with the open file in it. NULL: errno tells why not. */
static struct imctl_message *message_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct imctl_message *m = fd >= 0 && fstat(fd, &status) == 0 ? imctl_message_new("file") : NULL;

    if (m) {
        imctl_message_attach_fd(m, "message", fd);
        imctl_message_set_content_string(m, "name", slash ? slash + 1 : path);
        imctl_message_set_content_string(m, "mime", "application/octet-stream");
        imctl_message_set_content_int(m, "size", status.st_size);
    }
    if (fd >= 0)
        close(fd); /* the message has one of its own */
    return m;
}

int main(int argc, char **argv)
{
    struct imctl *c = NULL;
    struct imctl_reply *reply = NULL;
    struct imctl_message *m = argc > 1 ? message_of(argv[1]) : NULL;
    int error = m ? imctl_open(NULL, 5000, &c) : argc > 1 ? -errno : -EINVAL;

    if (error == 0 && argc > 2) {
        imctl_message_set_to(m, argv[2]);
        imctl_message_set_conversation(m, IMCTL_PRIVATE);
    }
    if (error == 0)
        error = imctl_send_wait(c, m, -1, &reply); /* tells what went wrong above, too */
    if (error < 0)
        fprintf(stderr, "not sent: %s\n", strerror(-error));
    else if (imctl_reply_error(reply) != IMCTL_OK)
        fprintf(stderr, "not sent: %s\n", imctl_reply_message(reply));
    else
        puts(imctl_reply_id(reply));
    int status = !reply || imctl_reply_error(reply) != IMCTL_OK;
    imctl_reply_free(reply);
    imctl_message_free(m);
    imctl_close(c);
    return status;
}
