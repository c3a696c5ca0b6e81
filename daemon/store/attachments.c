/*
 * See attachments.h. A file is written under one fixed name, synced, and renamed: what bears a hash is whole.
 * The total is counted once and then kept; the folder is read again only when what the last reading found
 * oldest has been used up, so that a full folder costs one reading in OLDEST_MAX files.
 */
#include "attachments.h"
#include "beat.h"
#include "cleanup.h"
#include "log.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_LENGTH 64
#define PARTIAL "partial" /* the one that is being written */
#define BLOCK UINT64_C(4096)
#define OLDEST_MAX 1024
#define PIECE (1u << 20) /* that is written, or hashed, at a time */

static_assert(OLDEST_MAX > STORAGE_BINS_MAX, "among the oldest is one that does not belong to the request");

struct attachment_file {
    char name[NAME_LENGTH + 1];
    struct timespec changed;
    uint64_t cost;
};

/* What a file takes; so there cannot be too many small ones either. */
static uint64_t cost_of(uint64_t size)
{
    return size ? (size + BLOCK - 1) / BLOCK * BLOCK : BLOCK;
}

int attachments_init(struct attachments *a, const char *state_folder, uint64_t max)
{
    _cleanup_(freep) char *here = state_folder[0] == '/' ? strdup("") : getcwd(NULL, 0);
    int r;

    *a = (struct attachments){.max = max};
    if (!here)
        return -errno;
    r = asprintf(&a->path, "%s%s%s/attachments", here, *here ? "/" : "", state_folder);
    if (r < 0)
        a->path = NULL;
    return r < 0 ? -ENOMEM : 0;
}

void attachments_deinit(struct attachments *a)
{
    free(a->path);
    free(a->oldest);
    *a = (struct attachments){0};
}

/* ---- the folder ---- */

static int open_folder(const struct attachments *a)
{
    int fd = open(a->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

static void sync_parent(const char *path)
{
    _cleanup_(freep) char *parent = strndup(path, (size_t)(strrchr(path, '/') - path));
    _cleanup_(closep) int fd = parent ? open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

    if (fd >= 0)
        fsync(fd);
}

/* Those of its group may read what is in it, whatever the umask. */
static int make_folder(const struct attachments *a)
{
    if (mkdir(a->path, 0750) < 0)
        return -errno;
    int fd = open_folder(a);
    if (fd >= 0 && fchmod(fd, 0750) < 0) {
        close(fd);
        return -errno;
    }
    sync_parent(a->path);
    return fd;
}

static int open_or_make_folder(const struct attachments *a)
{
    int fd = open_folder(a);

    return fd == -ENOENT ? make_folder(a) : fd;
}

static bool is_ours(const char *name)
{
    return strlen(name) == NAME_LENGTH && strspn(name, "0123456789abcdef") == NAME_LENGTH;
}

/* A regular file of ours; never what a link points to. */
static bool look(int folder, const char *name, struct attachment_file *out)
{
    struct stat s;

    if (!is_ours(name) || fstatat(folder, name, &s, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(s.st_mode))
        return false;
    memcpy(out->name, name, sizeof(out->name));
    out->changed = s.st_mtim;
    out->cost = cost_of((uint64_t)s.st_size);
    return true;
}

/* ---- counting, and what is oldest ---- */

struct listing {
    struct attachment_file *files;
    size_t count, room;
    uint64_t total;
};

static int listing_add(struct listing *l, const struct attachment_file *f)
{
    if (l->count == l->room) {
        size_t room = l->room ? 2 * l->room : 64;
        struct attachment_file *files = realloc(l->files, room * sizeof(*files));
        if (!files)
            return -ENOMEM;
        l->files = files;
        l->room = room;
    }
    l->files[l->count++] = *f;
    l->total += f->cost;
    return 0;
}

static int by_age(const void *a, const void *b)
{
    const struct attachment_file *x = a, *y = b;

    if (x->changed.tv_sec != y->changed.tv_sec)
        return x->changed.tv_sec < y->changed.tv_sec ? -1 : 1;
    if (x->changed.tv_nsec != y->changed.tv_nsec)
        return x->changed.tv_nsec < y->changed.tv_nsec ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int listing_read(struct listing *l, DIR *d)
{
    struct attachment_file f;
    struct dirent *entry;
    int r = 0;

    errno = 0;
    while (r == 0 && (entry = readdir(d))) {
        beat();
        if (look(dirfd(d), entry->d_name, &f))
            r = listing_add(l, &f);
        errno = 0;
    }
    return r < 0 ? r : -errno;
}

static int read_listing(struct listing *l, int folder)
{
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    int r = d ? listing_read(l, d) : -errno;

    if (d)
        closedir(d);
    else if (fd >= 0)
        close(fd);
    return r;
}

static int scan(struct attachments *a, int folder)
{
    struct listing l = {0};
    int r = read_listing(&l, folder);

    if (r < 0) {
        free(l.files);
        return r;
    }
    if (l.count > 0)
        qsort(l.files, l.count, sizeof(*l.files), by_age);
    free(a->oldest);
    a->oldest_next = 0;
    a->oldest_count = (unsigned)(l.count < OLDEST_MAX ? l.count : OLDEST_MAX);
    a->oldest = a->oldest_count ? realloc(l.files, a->oldest_count * sizeof(*l.files)) : l.files;
    a->oldest = a->oldest ? a->oldest : l.files;
    a->total = l.total;
    a->counted = true;
    return 0;
}

static int count_once(struct attachments *a, int folder)
{
    if (a->counted)
        return 0;
    unlinkat(folder, PARTIAL, 0);
    return scan(a, folder);
}

/* ---- making room ---- */

/* It is of this message: what was just written or found stays until the message is told. */
static bool belongs_to(const struct storage_attach *r, const char *name)
{
    for (unsigned i = 0; r && i < r->count; i++)
        if (r->bins[i].stored && strcmp(r->bins[i].sha256, name) == 0)
            return true;
    return false;
}

static void discount(struct attachments *a, uint64_t cost)
{
    a->total -= cost < a->total ? cost : a->total;
}

static bool is_same_age(const struct attachment_file *a, const struct attachment_file *b)
{
    return a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec;
}

/* One of those that the last scan found oldest, unless it is gone, or was asked for again since. */
static bool evict_listed(struct attachments *a, int folder, const struct storage_attach *r)
{
    struct attachment_file now;

    while (a->oldest_next < a->oldest_count) {
        const struct attachment_file *f = &a->oldest[a->oldest_next++];
        if (belongs_to(r, f->name) || !look(folder, f->name, &now) || !is_same_age(f, &now) ||
            unlinkat(folder, f->name, 0) < 0)
            continue;
        discount(a, now.cost);
        a->evicted++;
        return true;
    }
    return false;
}

static bool is_over(const struct attachments *a, uint64_t cost)
{
    return a->total + cost > a->max;
}

static int make_room(struct attachments *a, int folder, uint64_t cost, const struct storage_attach *r)
{
    while (is_over(a, cost)) {
        beat();
        if (evict_listed(a, folder, r))
            continue;
        int error = scan(a, folder);
        if (error < 0)
            return error;
        if (is_over(a, cost) && !evict_listed(a, folder, r))
            return -ENOSPC;
    }
    return 0;
}

void attachments_trim(struct attachments *a)
{
    _cleanup_(closep) int folder = open_folder(a);

    if (folder >= 0 && count_once(a, folder) == 0 && make_room(a, folder, 0, NULL) < 0)
        log_warning("%s: what is above AttachmentsMaxSize cannot be removed", a->path);
}

/* ---- writing ---- */

static int write_all(int fd, const uint8_t *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, bytes, len < PIECE ? len : PIECE);
        beat();
        if (n < 0 && errno != EINTR)
            return -errno;
        bytes += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int write_partial(int folder, const uint8_t *bytes, size_t len)
{
    if (unlinkat(folder, PARTIAL, 0) < 0 && errno != ENOENT)
        return -errno;
    _cleanup_(closep) int fd =
        openat(folder, PARTIAL, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int r = write_all(fd, bytes, len);
    if (r == 0 && (fchmod(fd, 0640) < 0 || fsync(fd) < 0))
        r = -errno;
    return r;
}

static int write_file(int folder, const char *name, const uint8_t *bytes, size_t len)
{
    int r = write_partial(folder, bytes, len);

    if (r == 0 && renameat(folder, PARTIAL, folder, name) < 0)
        r = -errno;
    if (r < 0)
        unlinkat(folder, PARTIAL, 0);
    return r;
}

static bool digest_all(EVP_MD_CTX *c, const uint8_t *bytes, size_t len, unsigned char *digest, unsigned *n)
{
    bool good = c && EVP_DigestInit_ex(c, EVP_sha256(), NULL);

    for (size_t piece; good && len > 0; bytes += piece, len -= piece) {
        piece = len < PIECE ? len : PIECE;
        good = EVP_DigestUpdate(c, bytes, piece);
        beat();
    }
    return good && EVP_DigestFinal_ex(c, digest, n);
}

static int hash(const uint8_t *bytes, size_t len, char name[NAME_LENGTH + 1])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    unsigned n = 0;
    bool good = digest_all(c, bytes, len, digest, &n);

    EVP_MD_CTX_free(c);
    if (!good || 2 * n != NAME_LENGTH)
        return -ENOMEM;
    for (unsigned i = 0; i < n; i++)
        snprintf(name + 2 * i, 3, "%02x", digest[i]);
    return 0;
}

/* What is there by that name and has its size is what is wanted, and is young again; else it is damaged. */
static bool renew(struct attachments *a, int folder, const char *name, size_t len)
{
    struct stat s;

    if (fstatat(folder, name, &s, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(s.st_mode))
        return false;
    if ((uint64_t)s.st_size == len)
        return utimensat(folder, name, NULL, AT_SYMLINK_NOFOLLOW) == 0;
    if (unlinkat(folder, name, 0) == 0)
        discount(a, cost_of((uint64_t)s.st_size));
    return false;
}

static int store_bin(struct attachments *a, int folder, const struct storage_attach *r, struct storage_bin *b)
{
    uint64_t cost = cost_of(b->len);
    int error = hash(r->bytes + b->at, b->len, b->sha256);

    if (error < 0 || renew(a, folder, b->sha256, b->len))
        return error;
    error = make_room(a, folder, cost, r);
    if (error == 0)
        error = write_file(folder, b->sha256, r->bytes + b->at, b->len);
    if (error < 0)
        return error;
    a->total += cost;
    a->written++;
    return 0;
}

/* Of a message that is larger than the whole folder may be, what fits. */
static int store_bins(struct attachments *a, int folder, struct storage_attach *r)
{
    uint64_t used = 0;
    int first = 0;

    for (unsigned i = 0; i < r->count; i++) {
        uint64_t cost = cost_of(r->bins[i].len);
        int error = used + cost > a->max ? -EFBIG : store_bin(a, folder, r, &r->bins[i]);
        r->bins[i].stored = error == 0;
        used += error == 0 ? cost : 0;
        first = first ? first : error;
    }
    return first;
}

static int store_all(struct attachments *a, struct storage_attach *r)
{
    _cleanup_(closep) int folder = open_or_make_folder(a);

    if (folder < 0)
        return folder;
    int error = count_once(a, folder);
    if (error == 0)
        error = store_bins(a, folder, r);
    if (fsync(folder) == 0)
        return error;
    for (unsigned i = 0; i < r->count; i++)
        r->bins[i].stored = false;
    return -errno;
}

void attachments_store(struct attachments *a, struct storage_attach *r)
{
    for (unsigned i = 0; i < r->count; i++)
        r->bins[i].stored = false;
    int error = store_all(a, r);
    r->folder = a->path;
    r->detail[0] = '\0';
    r->request.error = error < 0 ? ERROR_STORAGE : ERROR_NONE;
    for (unsigned i = 0; i < r->count; i++)
        a->failed += !r->bins[i].stored;
    if (error == -EFBIG)
        snprintf(r->detail, sizeof(r->detail), "it is larger than AttachmentsMaxSize");
    else if (error < 0)
        snprintf(r->detail, sizeof(r->detail), "%s", strerror(-error));
}
