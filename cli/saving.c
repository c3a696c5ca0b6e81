/*
 * A file is written under a name that nobody guesses and then given its own, which must be free: so no file
 * is ever seen half-written, and none is overwritten. What came once and was not acked comes again: its name
 * is taken then, by the same bytes, and that is fine.
 *
 * Who sends a message can also write an object into it that looks as if imd had written it, with the path of
 * any file of ours. So only a file that bears the name of its own SHA-256, as those of imd do, is believed:
 * a stranger cannot have seen to that.
 */
#include "saving.h"

#include "base64.h"
#include "output.h"
#include "reach.h"
#include "received.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_MAX_BYTES 128 /* of what the sender gave: with the number before it far below any NAME_MAX */
#define PIECE_BYTES 65536
#define SHA256_DIGITS 64

/* Conditions that no new try changes. */
enum { GOT = 0, GONE = 1, DAMAGED, CLOSED, FOREIGN };

static const char *const conditions[] = {
    [GONE] = "imd no longer has it",
    [DAMAGED] = "it is not what imd told",
    [CLOSED] = "permission denied; are you in imd's group?",
    [FOREIGN] = "its path is none of imd's; the sender may have made it up",
};

/* ---- Names ---- */

/* Behind the last slash of either kind. */
static const char *base_name(const char *path)
{
    const char *base = path;
    for (; *path; path++)
        if (*path == '/' || *path == '\\')
            base = path + 1;
    return base;
}

/* Its end, which tells what it is; not beginning inside a character. */
static const char *name_tail(const char *name)
{
    size_t len = strlen(name);
    if (len <= NAME_MAX_BYTES)
        return name;
    name += len - NAME_MAX_BYTES;
    while ((*name & 0xc0) == 0x80)
        name++;
    return name;
}

/* Control characters, also those of two bytes, and what cannot be in a name everywhere become '_'. */
static void blank_forbidden(char *name)
{
    for (size_t n; *name; name += n ? n : 1) {
        n = output_control(name);
        if (n == 0 && strchr("<>:\"|?*", *name)) /* some file systems refuse these */
            n = 1;
        memset(name, '_', n);
    }
}

char *saving_name(const char *given)
{
    const char *name = name_tail(base_name(given ? given : ""));
    name += strspn(name, ".");
    char *safe = strdup(*name ? name : "file");
    if (safe)
        blank_forbidden(safe);
    return safe;
}

static bool is_sha256(const char *digits)
{
    return strlen(digits) == SHA256_DIGITS && strspn(digits, "0123456789abcdef") == SHA256_DIGITS;
}

static bool is_of_imd(const struct received *r)
{
    const char *slash = strrchr(r->path, '/');
    return r->path[0] == '/' && is_sha256(r->sha256) && strcmp(slash + 1, r->sha256) == 0;
}

/* ---- Bytes: 0, a negative errno, or a condition ---- */

/* Where the kernel cannot copy from this file system to that one, it can still send. */
static ssize_t copy_some(int from, int to, size_t size)
{
    ssize_t n = copy_file_range(from, NULL, to, NULL, size, 0);
    if (n >= 0 || (errno != EXDEV && errno != EINVAL && errno != EOPNOTSUPP && errno != ENOSYS))
        return n;
    return sendfile(to, from, NULL, size);
}

static int copy_bytes(int from, int to, int64_t size)
{
    while (size > 0) {
        ssize_t n = copy_some(from, to, (size_t)size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : DAMAGED;
        size -= n;
    }
    return 0;
}

/* Whatever its path is, it stops nothing that comes behind it: the sender may have chosen it. Only what this
 * process lacks is an error. */
static int source_condition(int error)
{
    switch (error) {
    case ENOENT:
        return GONE;
    case EACCES:
        return CLOSED;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
        return -error;
    default:
        return FOREIGN;
    }
}

static int copy_file(const struct received *r, int to)
{
    struct stat st;
    int result = DAMAGED, from = open(r->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (from < 0)
        return source_condition(errno);
    if (fstat(from, &st) < 0)
        result = -errno;
    else if (!S_ISREG(st.st_mode))
        result = FOREIGN;
    else if (st.st_size == r->size)
        result = copy_bytes(from, to, r->size);
    close(from);
    return result;
}

static int write_bytes(int to, const unsigned char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t n = write(to, bytes, size);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0) {
            bytes += n;
            size -= (size_t)n;
        }
    }
    return 0;
}

static int write_inline(const struct received *r, int to)
{
    size_t size;
    unsigned char *bytes = malloc(strlen(r->base64) / 4 * 3 + 3);
    if (!bytes)
        return -ENOMEM;
    int result = base64_decode(r->base64, bytes, &size) ? write_bytes(to, bytes, size) : DAMAGED;
    free(bytes);
    return result;
}

static int write_received(const struct saving *s, const struct received *r, int to)
{
    int result = !r->path ? write_inline(r, to) : is_of_imd(r) ? copy_file(r, to) : FOREIGN;
    if (result == 0 && s->durable && fsync(to) < 0)
        return -errno;
    return result;
}

/* ---- The directory ---- */

/* The same bytes in two files, both read from their start. */
static bool same_bytes(int a, int b)
{
    char pieces[2][PIECE_BYTES];
    off_t at = 0;
    ssize_t n;
    while ((n = pread(a, pieces[0], PIECE_BYTES, at)) > 0) {
        if (pread(b, pieces[1], PIECE_BYTES, at) != n || memcmp(pieces[0], pieces[1], (size_t)n) != 0)
            return false;
        at += n;
    }
    return n == 0 && pread(b, pieces[1], 1, at) == 0;
}

/* The name is taken: by what came before and was saved then, or by something else. */
static int meet_present(const struct saving *s, int fd, const char *name)
{
    struct stat st;
    int present = openat(s->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    bool same = present >= 0 && fstat(present, &st) == 0 && S_ISREG(st.st_mode) && same_bytes(fd, present);
    if (present >= 0)
        close(present);
    return same ? 0 : -EEXIST;
}

/* Some file systems cannot rename without overwriting, but link; the others cannot link. */
static int give_name(const struct saving *s, int fd, const char *from, const char *to)
{
    if (renameat2(s->fd, from, s->fd, to, RENAME_NOREPLACE) == 0)
        return 0;
    int error = errno;
    if (error == EINVAL)
        error = linkat(s->fd, from, s->fd, to, 0) == 0 ? 0 : errno;
    unlinkat(s->fd, from, 0);
    return error == EEXIST ? meet_present(s, fd, to) : -error;
}

static int make_temporary(const struct saving *s, char *name, size_t size)
{
    uint64_t random;
    if (getrandom(&random, sizeof(random), 0) != sizeof(random))
        return -errno;
    snprintf(name, size, ".imctl-%016" PRIx64, random);
    int fd = openat(s->fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    return fd < 0 ? -errno : fd;
}

static int save_as(const struct saving *s, const struct received *r, const char *name)
{
    char temporary[32];
    int fd = make_temporary(s, temporary, sizeof(temporary));
    if (fd < 0)
        return fd;
    int result = write_received(s, r, fd);
    if (result == 0)
        result = give_name(s, fd, temporary, name);
    else
        unlinkat(s->fd, temporary, 0);
    if (result == 0 && s->durable && fsync(s->fd) < 0)
        result = -errno;
    close(fd);
    return result;
}

/* ---- Events ---- */

static int complain_unsaved(struct saving *s, const char *path, int result)
{
    if (result > 0) {
        s->missed = true;
        complain("cannot save %s: %s", path, conditions[result]);
        return 0;
    }
    if (result == -EEXIST)
        complain("cannot save %s: another file has this name; use another directory", path);
    else
        complain("cannot save %s: %s", path, strerror(-result));
    return imctl_error_exit_status(IMCTL_STORAGE);
}

/* `DIRECTORY/SEQ-NAME`; NULL: no memory */
static char *path_of(const struct saving *s, const struct imctl_event *e, const struct received *r)
{
    char *name = saving_name(r->name), *path = NULL;
    if (name && asprintf(&path, "%s/%" PRIu64 "-%s", s->directory, imctl_event_seq(e), name) < 0)
        path = NULL;
    free(name);
    return path;
}

int saving_event(struct saving *s, const struct imctl_event *e, char **out)
{
    struct received r;
    *out = NULL;
    if (!s->directory || imctl_event_kind(e) != IMCTL_EVENT_MESSAGE || !received_find(e, &r))
        return 0;
    char *path = path_of(s, e, &r);
    if (!path)
        return failure_status(-ENOMEM);
    int result = save_as(s, &r, path + strlen(s->directory) + 1);
    if (result == 0) {
        *out = path;
        return 0;
    }
    int status = complain_unsaved(s, path, result);
    free(path);
    return status;
}

int saving_begin(struct saving *s, const char *directory, bool durable)
{
    *s = (struct saving){.fd = -1, .durable = durable};
    if (!directory)
        return 0;
    s->fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->fd < 0) {
        complain("cannot save files in %s: %s", directory, strerror(errno));
        return imctl_error_exit_status(IMCTL_STORAGE);
    }
    s->directory = directory;
    return 0;
}

void saving_end(struct saving *s)
{
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
}
