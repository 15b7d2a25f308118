/* Rows of a dataset whose chunks are compressed, unpacked by libdeflate: about twice as fast as
 * HDF5's own way through zlib, with the same values and the same checks.
 *
 * Chunks come from HDF5 as they are stored; the filters deflate, shuffle and fletcher32 are undone
 * here. Callers hold hdf5_lock (hdf5.h). */
#ifndef HINDCAST_TRAJECTORY_HDF5_CHUNKS_H
#define HINDCAST_TRAJECTORY_HDF5_CHUNKS_H

#include <stdbool.h>

#include "common/trajectory/hdf5.h"

#define HDF5_CHUNKS_FILTERS_MAX 3 /* each of the three at most once */

/* How a dataset is stored. */
struct hdf5_chunks {
    hsize_t rows, columns; /* of the dataset; rank 1 has one column */
    hsize_t chunk[2];      /* rows and columns of a chunk */
    size_t value_bytes;    /* of one value */
    size_t chunk_bytes;    /* unpacked */
    unsigned n;            /* filters, in the order in which they were applied .. */
    H5Z_filter_t filters[HDF5_CHUNKS_FILTERS_MAX]; /* .. when the file was written */
};

/* Can rows of this dataset be read with hdf5_chunks_read? Only where deflate is among its filters,
 * all of them are of the three, and its rank is 1 or 2; HDF5 reads everything else. The dataset
 * comes from hdf5_dataset_open, which has bounded the size of a chunk. */
bool hdf5_chunks_find(struct hdf5_chunks *chunks, hid_t dataset, const struct hdf5_shape *shape);

/* bytes(n, columns) <- rows first .. first + n, values as they are stored. Every chunk that holds
 * one of the rows is unpacked once. CORRUPT (a chunk that does not unpack to its size, or whose
 * checksum is wrong; `bytes` is then half filled, and HDF5's error stack has the reason), NO_MEMORY. */
status hdf5_chunks_read(const struct hdf5_chunks *chunks, hid_t dataset, uint64_t first, uint64_t n,
                        void *bytes) MUST_CHECK;

#endif
