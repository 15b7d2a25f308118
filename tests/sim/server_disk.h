/* What the linker puts between the store and LMDB (--wrap), to fill the disk. */
#ifndef HINDCAST_SIM_SERVER_DISK_H
#define HINDCAST_SIM_SERVER_DISK_H

#include <lmdb.h>

int __real_mdb_put(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *value, unsigned flags);
int __wrap_mdb_put(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *value, unsigned flags);

#endif
