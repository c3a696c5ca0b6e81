/*
 * Goes before libc (LD_PRELOAD) in a program under test and counts, by thread, what it asks of the allocator
 * and of the kernel, while it runs, in the file that METER names:
 *
 *     header, padded to HEADER_SIZE: the names of the counters, one a line
 *     THREADS_MAX rows of ROW_SIZE:  the thread's id (0: no more rows), then the counters, 64 bits each
 *
 * A library call counts when it is made, whatever becomes of it. What libc asks of itself is not seen, but
 * for its allocations. The names of the calls are libc's. Of the counters that are no calls, `sleeps` and
 * `wakes` are waits with time to spare that began and that ended: when they differ the thread sleeps. The
 * others tell calls on sockets by what is at the other end: a server (IP) or a client (Unix).
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

#define HEADER_SIZE 4096
#define ROW_SIZE 512
#define THREADS_MAX 64

#define COUNTERS(X)                                                                                          \
    X(malloc)                                                                                                \
    X(calloc) X(realloc) X(memalign) X(free) X(send) X(sendto) X(sendmsg) X(recv) X(recvfrom) X(recvmsg)     \
        X(read) X(readv) X(write) X(writev) X(eventfd_read) X(eventfd_write) X(epoll_wait) X(epoll_pwait)    \
            X(epoll_pwait2) X(epoll_ctl) X(poll) X(timerfd_settime) X(getsockopt) X(setsockopt) X(getrandom) \
                X(sleeps) X(wakes) X(server_reads) X(server_writes) X(client_reads) X(client_writes)

enum counter {
#define COUNTER(name) COUNT_##name,
    COUNTERS(COUNTER)
#undef COUNTER
        COUNTER_COUNT
};

#define COUNTER(name) #name "\n"
static const char names[] = COUNTERS(COUNTER);
#undef COUNTER

struct row {
    uint64_t thread;
    uint64_t counters[COUNTER_COUNT];
    char padding[ROW_SIZE - (1 + COUNTER_COUNT) * sizeof(uint64_t)];
};
_Static_assert(sizeof names <= HEADER_SIZE, "the names have room");

/* glibc's own, so that nothing has to be looked up before the first allocation. */
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t count, size_t n);
void *__libc_realloc(void *at, size_t n);
void *__libc_memalign(size_t alignment, size_t n);
void __libc_free(void *at);

/* ---- The file ---- */

static struct row *rows; /* NULL: nothing is counted */
static unsigned rows_used;
static _Thread_local struct row *row
    __attribute__((tls_model("initial-exec"))); /* the other models allocate */

static void *map_file(const char *path)
{
    size_t size = HEADER_SIZE + THREADS_MAX * sizeof(struct row);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    void *map = MAP_FAILED;

    if (fd >= 0 && ftruncate(fd, (off_t)size) == 0)
        map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0)
        close(fd);
    return map == MAP_FAILED ? NULL : map;
}

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("METER");
    char *map = path ? map_file(path) : NULL;

    if (!map) {
        fprintf(stderr, "meter: METER must name a file: %s\n", strerror(errno));
        _exit(127);
    }
    memcpy(map, names, sizeof names);
    __atomic_store_n(&rows, (struct row *)(void *)(map + HEADER_SIZE), __ATOMIC_RELEASE);
}

static struct row *row_take(void)
{
    unsigned n = __atomic_fetch_add(&rows_used, 1, __ATOMIC_RELAXED);

    if (n >= THREADS_MAX)
        abort();
    rows[n].thread = (uint64_t)syscall(SYS_gettid);
    return &rows[n];
}

static void count(enum counter c)
{
    if (!__atomic_load_n(&rows, __ATOMIC_ACQUIRE))
        return;
    if (!row)
        row = row_take();
    __atomic_store_n(&row->counters[c], row->counters[c] + 1, __ATOMIC_RELEASE);
}

/* ---- The next one of this name ---- */

static void *next(void **known, const char *name)
{
    void *found = __atomic_load_n(known, __ATOMIC_RELAXED);

    if (!found) {
        found = dlsym(RTLD_NEXT, name);
        if (!found)
            abort();
        __atomic_store_n(known, found, __ATOMIC_RELAXED);
    }
    return found;
}

/* ISO C has no cast between the two. */
#define REAL(name)                     \
    static void *known;                \
    void *found = next(&known, #name); \
    __typeof__(&name) real;            \
    memcpy(&real, &found, sizeof real)

static int domain_of(int fd)
{
    int domain = AF_UNSPEC, error = errno;
    socklen_t size = sizeof domain;

    syscall(SYS_getsockopt, fd, SOL_SOCKET, SO_DOMAIN, &domain, &size);
    errno = error;
    return domain;
}

static void count_socket(int fd, enum counter call, enum counter server, enum counter client)
{
    int domain = rows ? domain_of(fd) : AF_UNSPEC;

    count(call);
    if (domain == AF_INET || domain == AF_INET6)
        count(server);
    else if (domain == AF_UNIX)
        count(client);
}

static void count_read(int fd, enum counter call)
{
    count_socket(fd, call, COUNT_server_reads, COUNT_client_reads);
}

static void count_write(int fd, enum counter call)
{
    count_socket(fd, call, COUNT_server_writes, COUNT_client_writes);
}

static int slept(int result)
{
    count(COUNT_wakes);
    return result;
}

/* ---- What is counted ---- */

#pragma GCC visibility push(default)

void *malloc(size_t n)
{
    count(COUNT_malloc);
    return __libc_malloc(n);
}

void *calloc(size_t elements, size_t n)
{
    count(COUNT_calloc);
    return __libc_calloc(elements, n);
}

void *realloc(void *at, size_t n)
{
    count(COUNT_realloc);
    return __libc_realloc(at, n);
}

void *reallocarray(void *at, size_t elements, size_t n)
{
    size_t bytes;

    count(COUNT_realloc);
    if (__builtin_mul_overflow(elements, n, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return __libc_realloc(at, bytes);
}

void *memalign(size_t alignment, size_t n)
{
    count(COUNT_memalign);
    return __libc_memalign(alignment, n);
}

void *aligned_alloc(size_t alignment, size_t n)
{
    count(COUNT_memalign);
    return __libc_memalign(alignment, n);
}

int posix_memalign(void **at, size_t alignment, size_t n)
{
    void *bytes;

    count(COUNT_memalign);
    bytes = __libc_memalign(alignment, n);
    if (!bytes)
        return ENOMEM;
    *at = bytes;
    return 0;
}

/* NULL is freed for nothing. */
void free(void *at)
{
    if (at)
        count(COUNT_free);
    __libc_free(at);
}

ssize_t send(int fd, const void *at, size_t n, int flags)
{
    REAL(send);
    count_write(fd, COUNT_send);
    return real(fd, at, n, flags);
}

ssize_t sendto(int fd, const void *at, size_t n, int flags, const struct sockaddr *to, socklen_t to_len)
{
    REAL(sendto);
    count_write(fd, COUNT_sendto);
    return real(fd, at, n, flags, to, to_len);
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
    REAL(sendmsg);
    count_write(fd, COUNT_sendmsg);
    return real(fd, m, flags);
}

ssize_t recv(int fd, void *at, size_t n, int flags)
{
    REAL(recv);
    count_read(fd, COUNT_recv);
    return real(fd, at, n, flags);
}

ssize_t recvfrom(int fd, void *at, size_t n, int flags, struct sockaddr *from, socklen_t *from_len)
{
    REAL(recvfrom);
    count_read(fd, COUNT_recvfrom);
    return real(fd, at, n, flags, from, from_len);
}

ssize_t recvmsg(int fd, struct msghdr *m, int flags)
{
    REAL(recvmsg);
    count_read(fd, COUNT_recvmsg);
    return real(fd, m, flags);
}

ssize_t read(int fd, void *at, size_t n)
{
    REAL(read);
    count_read(fd, COUNT_read);
    return real(fd, at, n);
}

ssize_t readv(int fd, const struct iovec *v, int n)
{
    REAL(readv);
    count_read(fd, COUNT_readv);
    return real(fd, v, n);
}

ssize_t write(int fd, const void *at, size_t n)
{
    REAL(write);
    count_write(fd, COUNT_write);
    return real(fd, at, n);
}

ssize_t writev(int fd, const struct iovec *v, int n)
{
    REAL(writev);
    count_write(fd, COUNT_writev);
    return real(fd, v, n);
}

int eventfd_read(int fd, uint64_t *value)
{
    REAL(eventfd_read);
    count(COUNT_eventfd_read);
    return real(fd, value);
}

int eventfd_write(int fd, uint64_t value)
{
    REAL(eventfd_write);
    count(COUNT_eventfd_write);
    return real(fd, value);
}

int epoll_wait(int fd, struct epoll_event *events, int max, int timeout)
{
    REAL(epoll_wait);
    count(COUNT_epoll_wait);
    if (timeout == 0)
        return real(fd, events, max, timeout);
    count(COUNT_sleeps);
    return slept(real(fd, events, max, timeout));
}

int epoll_pwait(int fd, struct epoll_event *events, int max, int timeout, const sigset_t *mask)
{
    REAL(epoll_pwait);
    count(COUNT_epoll_pwait);
    if (timeout == 0)
        return real(fd, events, max, timeout, mask);
    count(COUNT_sleeps);
    return slept(real(fd, events, max, timeout, mask));
}

int epoll_pwait2(int fd, struct epoll_event *events, int max, const struct timespec *timeout,
                 const sigset_t *mask)
{
    bool sleeps = !timeout || timeout->tv_sec || timeout->tv_nsec;
    REAL(epoll_pwait2);

    count(COUNT_epoll_pwait2);
    if (!sleeps)
        return real(fd, events, max, timeout, mask);
    count(COUNT_sleeps);
    return slept(real(fd, events, max, timeout, mask));
}

int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    REAL(epoll_ctl);
    count(COUNT_epoll_ctl);
    return real(epoll, operation, fd, event);
}

int poll(struct pollfd *fds, nfds_t n, int timeout)
{
    REAL(poll);
    count(COUNT_poll);
    return real(fds, n, timeout);
}

int timerfd_settime(int fd, int flags, const struct itimerspec *new, struct itimerspec *old)
{
    REAL(timerfd_settime);
    count(COUNT_timerfd_settime);
    return real(fd, flags, new, old);
}

int getsockopt(int fd, int level, int name, void *value, socklen_t *size)
{
    REAL(getsockopt);
    count(COUNT_getsockopt);
    return real(fd, level, name, value, size);
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t size)
{
    REAL(setsockopt);
    count(COUNT_setsockopt);
    return real(fd, level, name, value, size);
}

ssize_t getrandom(void *at, size_t n, unsigned flags)
{
    REAL(getrandom);
    count(COUNT_getrandom);
    return real(at, n, flags);
}

#pragma GCC visibility pop
