/* The metadata.yaml of a rosbag2 folder: the files of one recording, in order. */
#ifndef HINDCAST_LOGS_ROSBAG_METADATA_H
#define HINDCAST_LOGS_ROSBAG_METADATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

#define ROSBAG_FILES_MAX 100000u

/* Returns whether a file with these first n bytes is a rosbag2 metadata.yaml. */
bool rosbag_metadata_recognise(const unsigned char *head, size_t n);
/* Stores the paths of the bag's files: `files` (n) and each of them is the caller's to mem_free.
 * Returns INVALID if the bag is not stored as MCAP, is compressed as a whole, or names files
 * outside of its folder; the text then says what to do. */
status rosbag_metadata_read(const char *path, char ***files, size_t *n, struct err *err) MUST_CHECK;

/* Returns whether the path is that of a metadata.yaml. */
bool rosbag_metadata_is(const char *path);
/* Stores a digest of the metadata and of all files of the bag. Reads all of them. Errors as
 * rosbag_metadata_read and file_digest_get. */
status rosbag_metadata_digest(const char *path, uint64_t *digest, struct err *err) MUST_CHECK;

#endif
