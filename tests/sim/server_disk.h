/* What the linker puts between the store and LMDB (--wrap), to fill the disk, and between the store and
 * the kernel: whether pages are in memory depends on the seed and not on the machine. */
#ifndef HINDCAST_SIM_SERVER_DISK_H
#define HINDCAST_SIM_SERVER_DISK_H

#include <lmdb.h>
#include <stddef.h>
#include <sys/types.h>

int __real_mdb_put(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *value, unsigned flags);
int __wrap_mdb_put(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *value, unsigned flags);

int __real_mdb_env_copyfd2(MDB_env *env, mdb_filehandle_t fd, unsigned flags);
int __wrap_mdb_env_copyfd2(MDB_env *env, mdb_filehandle_t fd, unsigned flags);

ssize_t __real_read(int fd, void *bytes, size_t size);
ssize_t __wrap_read(int fd, void *bytes, size_t size);

int __wrap_mincore(void *address, size_t size, unsigned char *pages);

#endif
