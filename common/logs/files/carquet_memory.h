/* Limits the memory of carquet, the library for Parquet files.
 *
 * A file says how large its parts are, and the library allocates what the file says. The limit
 * keeps a small hostile file from taking all memory. */
#ifndef HINDCAST_LOGS_CARQUET_MEMORY_H
#define HINDCAST_LOGS_CARQUET_MEMORY_H

#define CARQUET_MEMORY_MAX (2ull << 30) /* bytes of all carquet's allocations together */

/* Installs the limit for this process. Must precede every other call of carquet; further calls do
 * nothing. Any thread. */
void carquet_memory_limit(void);

#endif
