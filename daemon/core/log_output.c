/*
 * sd_journal_sendv would do for the journal, but it blocks when journald has stopped reading, and so does a
 * write to stderr: hence MSG_DONTWAIT on sockets, on one of our own for the journal, whose protocol is
 * documented and stable (systemd.io/JOURNAL_NATIVE_PROTOCOL). O_NONBLOCK belongs to an open file, which
 * stderr shares with whoever gave it to us; so pipes and terminals are opened once more.
 */
#include "log_output.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static struct {
    bool is_socket, is_terminal;
    bool may_block;          /* it could not be opened once more */
    int fd;                  /* stderr, or the same opened once more */
    int journal;             /* -1: stderr is not the journal */
    struct sockaddr_un path; /* of the journal */
} output = {.fd = STDERR_FILENO, .journal = -1};

static void forget(void)
{
    if (output.fd != STDERR_FILENO)
        close(output.fd);
    if (output.journal >= 0)
        close(output.journal);
    output.fd = STDERR_FILENO;
    output.journal = -1;
    output.is_socket = output.may_block = false;
}

/* A file takes what it is given, or fails; it is not opened again, since where it is at is shared too. */
static void open_again(const struct stat *s)
{
    int fd;

    if (!S_ISFIFO(s->st_mode) && !S_ISCHR(s->st_mode))
        return;
    fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    output.may_block = fd < 0;
    if (fd >= 0)
        output.fd = fd;
}

/* It stands in the environment of everything that systemd starts, so stderr must be that very stream. */
static bool is_journal(const struct stat *s)
{
    const char *stream = getenv("JOURNAL_STREAM");
    uintmax_t device, inode;

    return stream && sscanf(stream, "%ju:%ju", &device, &inode) == 2 && device == (uintmax_t)s->st_dev &&
           inode == (uintmax_t)s->st_ino;
}

static void open_journal(const char *path)
{
    if (strlen(path) >= sizeof(output.path.sun_path))
        return;
    output.path = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(output.path.sun_path, path, strlen(path));
    output.journal = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}

void log_output_init(const char *journal_path)
{
    struct stat s;

    forget();
    output.is_terminal = isatty(STDERR_FILENO);
    if (fstat(STDERR_FILENO, &s) < 0)
        return;
    output.is_socket = S_ISSOCK(s.st_mode);
    open_again(&s);
    if (is_journal(&s))
        open_journal(journal_path);
}

bool log_output_is_journal(void)
{
    return output.journal >= 0;
}

bool log_output_is_terminal(void)
{
    return output.is_terminal;
}

static bool is_writable(void)
{
    struct pollfd p = {.fd = output.fd, .events = POLLOUT};

    return poll(&p, 1, 0) == 1 && (p.revents & POLLOUT);
}

static enum log_written judge(ssize_t n, size_t len)
{
    if (n == (ssize_t)len)
        return LOG_WRITTEN;
    return n >= 0 || errno == EAGAIN || errno == ENOBUFS ? LOG_FULL : LOG_BROKEN;
}

enum log_written log_output_line(const char *line, size_t len)
{
    if (output.is_socket)
        return judge(send(output.fd, line, len, MSG_DONTWAIT | MSG_NOSIGNAL), len);
    if (output.may_block && !is_writable())
        return LOG_FULL;
    return judge(write(output.fd, line, len), len);
}

/* Not connected: the socket may be another one after a restart of the journal. */
enum log_written log_output_entry(const char *entry, size_t len)
{
    return judge(sendto(output.journal, entry, len, MSG_DONTWAIT | MSG_NOSIGNAL,
                        (const struct sockaddr *)&output.path, sizeof(output.path)),
                 len);
}
