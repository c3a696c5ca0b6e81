#include "attachment.h"

#include "command.h"
#include "mime.h"
#include "output.h"
#include "reach.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A pipe without a writer would let open(2) wait. */
static int file_open(const char *path, off_t *size)
{
    struct stat s;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        complain("cannot read '%s': %s", path, strerror(errno));
    else if (fstat(fd, &s) < 0 || !S_ISREG(s.st_mode)) {
        complain("cannot send '%s': it is no regular file", path);
        close(fd);
        return -1;
    }
    *size = fd < 0 ? 0 : s.st_size;
    return fd;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* The library remembers the first error. */
static int content_fill(struct imctl_message *m, int fd, const char *name, off_t size)
{
    char mime[256];
    mime_of(fd, mime, sizeof(mime));
    imctl_message_attach_fd(m, "message", fd);
    imctl_message_set_content_string(m, "name", name);
    imctl_message_set_content_string(m, "mime", mime);
    return imctl_message_set_content_int(m, "size", size);
}

int attachment_message(const char *path, const char *type, struct imctl_message **out)
{
    off_t size;
    int fd = file_open(path, &size);
    if (fd < 0)
        return STATUS_USAGE;
    struct imctl_message *m = imctl_message_new(type);
    int error = m ? content_fill(m, fd, base_name(path), size) : -ENOMEM;
    close(fd);
    if (error < 0) {
        imctl_message_free(m);
        return failure_status(error);
    }
    *out = m;
    return 0;
}
