/* See store_vfs.h. */
#include "store_vfs.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    int rc, skip, times;
} plans[VFS_CALLS];
static unsigned failures;
static sqlite3_vfs *real, shim;

void store_vfs_fail(enum store_vfs_call call, int rc, int n, int times)
{
    pthread_mutex_lock(&lock);
    plans[call].rc = rc;
    plans[call].skip = n - 1;
    plans[call].times = times;
    pthread_mutex_unlock(&lock);
}

void store_vfs_heal(void)
{
    pthread_mutex_lock(&lock);
    memset(plans, 0, sizeof(plans));
    failures = 0;
    pthread_mutex_unlock(&lock);
}

unsigned store_vfs_failures(void)
{
    pthread_mutex_lock(&lock);
    unsigned n = failures;
    pthread_mutex_unlock(&lock);
    return n;
}

static int verdict(enum store_vfs_call call)
{
    int rc = SQLITE_OK;

    pthread_mutex_lock(&lock);
    if (plans[call].rc && plans[call].skip > 0)
        plans[call].skip--;
    else if (plans[call].rc && plans[call].times != 0) {
        rc = plans[call].rc;
        plans[call].times -= plans[call].times > 0;
        failures++;
    }
    pthread_mutex_unlock(&lock);
    return rc;
}

struct file {
    sqlite3_file base;
    sqlite3_file *real; /* behind it */
};

static sqlite3_file *real_of(sqlite3_file *f)
{
    return ((struct file *)(void *)f)->real;
}

#define pass(name, call, parameters, ...)                                     \
    static int shim_##name parameters                                         \
    {                                                                         \
        int rc = (call) < VFS_CALLS ? verdict(call) : SQLITE_OK;              \
        return rc ? rc : real_of(f)->pMethods->name(real_of(f), __VA_ARGS__); \
    }

pass(xRead, VFS_READ, (sqlite3_file * f, void *to, int n, sqlite3_int64 at), to, n, at);
pass(xWrite, VFS_WRITE, (sqlite3_file * f, const void *from, int n, sqlite3_int64 at), from, n, at);
pass(xTruncate, VFS_TRUNCATE, (sqlite3_file * f, sqlite3_int64 size), size);
pass(xSync, VFS_SYNC, (sqlite3_file * f, int flags), flags);
pass(xLock, VFS_LOCK, (sqlite3_file * f, int level), level);
pass(xUnlock, VFS_CALLS, (sqlite3_file * f, int level), level);
pass(xFileSize, VFS_CALLS, (sqlite3_file * f, sqlite3_int64 *size), size);
pass(xCheckReservedLock, VFS_CALLS, (sqlite3_file * f, int *out), out);
pass(xFileControl, VFS_CALLS, (sqlite3_file * f, int op, void *arg), op, arg);
pass(xShmMap, VFS_CALLS, (sqlite3_file * f, int page, int size, int extend, void volatile **out), page, size,
     extend, out);
pass(xShmLock, VFS_CALLS, (sqlite3_file * f, int at, int n, int flags), at, n, flags);
pass(xShmUnmap, VFS_CALLS, (sqlite3_file * f, int remove), remove);

static int shim_xClose(sqlite3_file *f)
{
    return real_of(f)->pMethods ? real_of(f)->pMethods->xClose(real_of(f)) : SQLITE_OK;
}

static int shim_xSectorSize(sqlite3_file *f)
{
    return real_of(f)->pMethods->xSectorSize(real_of(f));
}

static int shim_xDeviceCharacteristics(sqlite3_file *f)
{
    return real_of(f)->pMethods->xDeviceCharacteristics(real_of(f));
}

static void shim_xShmBarrier(sqlite3_file *f)
{
    real_of(f)->pMethods->xShmBarrier(real_of(f));
}

static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = shim_xClose,
    .xRead = shim_xRead,
    .xWrite = shim_xWrite,
    .xTruncate = shim_xTruncate,
    .xSync = shim_xSync,
    .xFileSize = shim_xFileSize,
    .xLock = shim_xLock,
    .xUnlock = shim_xUnlock,
    .xCheckReservedLock = shim_xCheckReservedLock,
    .xFileControl = shim_xFileControl,
    .xSectorSize = shim_xSectorSize,
    .xDeviceCharacteristics = shim_xDeviceCharacteristics,
    .xShmMap = shim_xShmMap,
    .xShmLock = shim_xShmLock,
    .xShmBarrier = shim_xShmBarrier,
    .xShmUnmap = shim_xShmUnmap,
};

static int shim_xOpen(sqlite3_vfs *v, sqlite3_filename name, sqlite3_file *f, int flags, int *out)
{
    struct file *file = (struct file *)(void *)f;
    int rc = verdict(VFS_OPEN);

    file->base.pMethods = NULL;
    file->real = (sqlite3_file *)(void *)(file + 1);
    file->real->pMethods = NULL;
    if (rc == SQLITE_OK)
        rc = real->xOpen(real, name, file->real, flags, out);
    if (rc == SQLITE_OK)
        file->base.pMethods = &methods;
    return rc;
}

void store_vfs_install(void)
{
    sqlite3_initialize();
    real = sqlite3_vfs_find(NULL);
    shim = *real;
    shim.zName = "shim";
    shim.pNext = NULL;
    shim.szOsFile = (int)sizeof(struct file) + real->szOsFile;
    shim.xOpen = shim_xOpen;
    sqlite3_vfs_register(&shim, 1);
}
