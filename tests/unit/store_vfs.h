/*
 * A VFS for SQLite that does what a disk may do: refuse to grow, to sync, to read, to be opened. It is the
 * default one from store_vfs_install on. Any thread.
 */
#ifndef STORE_VFS_H
#define STORE_VFS_H

enum store_vfs_call { VFS_OPEN, VFS_READ, VFS_WRITE, VFS_SYNC, VFS_TRUNCATE, VFS_LOCK, VFS_CALLS };

void store_vfs_install(void);

/* From the n-th of these calls on (1: the next one) `times` of them (-1: all) give rc; rc 0: none. */
void store_vfs_fail(enum store_vfs_call call, int rc, int n, int times);
void store_vfs_heal(void);
unsigned store_vfs_failures(void); /* since the last heal */

#endif
