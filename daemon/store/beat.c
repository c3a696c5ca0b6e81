/*
 * See beat.h. A checkpoint, or the replay of a long log, runs no statement: there only the reads and writes
 * show that it goes on. So those of SQLite's own VFS are counted, by the means that it has for putting others
 * in their place. A sync is one step, however long: what hangs in it is stuck.
 */
#include "beat.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stddef.h>
#include <sys/types.h>

#define STATEMENT_STEPS 10000 /* of SQLite's virtual machine: less than a millisecond */

static _Thread_local atomic_uint_fast64_t *count_here;

void beat_into(atomic_uint_fast64_t *count)
{
    count_here = count;
}

void beat(void)
{
    if (count_here)
        atomic_fetch_add_explicit(count_here, 1, memory_order_relaxed);
}

static int on_progress(void *unused)
{
    beat();
    return 0;
}

void beat_with_statements(struct sqlite3 *handle)
{
    sqlite3_progress_handler(handle, STATEMENT_STEPS, on_progress, NULL);
}

/* ---- SQLite's reads and writes ---- */

static sqlite3_syscall_ptr real_read, real_write, real_pread, real_pwrite, real_pread64, real_pwrite64;

#define COUNTED(name, parameters, arguments)                          \
    static ssize_t counted_##name parameters                          \
    {                                                                 \
        ssize_t done = ((ssize_t(*) parameters)real_##name)arguments; \
                                                                      \
        beat();                                                       \
        return done;                                                  \
    }
COUNTED(read, (int fd, void *bytes, size_t len), (fd, bytes, len))
COUNTED(write, (int fd, const void *bytes, size_t len), (fd, bytes, len))
COUNTED(pread, (int fd, void *bytes, size_t len, off_t at), (fd, bytes, len, at))
COUNTED(pwrite, (int fd, const void *bytes, size_t len, off_t at), (fd, bytes, len, at))
COUNTED(pread64, (int fd, void *bytes, size_t len, off64_t at), (fd, bytes, len, at))
COUNTED(pwrite64, (int fd, const void *bytes, size_t len, off64_t at), (fd, bytes, len, at))
#undef COUNTED

/* Which of them SQLite uses depends on how it was built: the others it does not have. */
static const struct {
    const char *name;
    sqlite3_syscall_ptr *real;
    sqlite3_syscall_ptr counted;
} calls[] = {
#define CALL(name)                                               \
    {                                                            \
#name, &real_##name, (sqlite3_syscall_ptr)counted_##name \
    }
    CALL(read), CALL(write), CALL(pread), CALL(pwrite), CALL(pread64), CALL(pwrite64),
#undef CALL
};

static void count_files(void)
{
    sqlite3_vfs *vfs = sqlite3_vfs_find("unix");

    if (!vfs || vfs->iVersion < 3 || !vfs->xSetSystemCall)
        return;
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        *calls[i].real = vfs->xGetSystemCall(vfs, calls[i].name);
        if (*calls[i].real)
            vfs->xSetSystemCall(vfs, calls[i].name, calls[i].counted);
    }
}

void beat_with_files(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, count_files);
}
