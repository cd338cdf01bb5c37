/* file.h - whole files in, whole files out, and what they hash to. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "kernels/base/error.h"
#include "kernels/base/mem.h"

/* A file's bytes, mapped read-only. */
struct ld_file {
    const unsigned char *data; /* NULL if empty */
    size_t len;
};

/* LD_ERR_IO names the path and the system's reason. */
bool ld_file_open(const char *path, struct ld_file *out, struct ld_err *err);
void ld_file_close(struct ld_file *file); /* an empty one is fine */

/* Gives back the memory of the bytes [begin, end) once they are read. They may
 * be read again, from disk. */
void ld_file_forget(const struct ld_file *file, size_t begin, size_t end);

/* Writes beside `path`, flushes to disk, renames, flushes the folder: the old
 * file or the new one stands at any moment, never half of one. */
bool ld_file_replace(const char *path, const void *bytes, size_t len,
                     struct ld_err *err);

/* The same from bytes that stand in many places, in order. */
struct ld_piece {
    const void *bytes;
    size_t len;
};
bool ld_file_replace_pieces(const char *path, const struct ld_piece *pieces,
                            size_t n_pieces, struct ld_err *err);

/* For writers that need a file of their own (HDF5): a temporary name beside
 * `path` that no other process has, on whatever machine, and the step that
 * publishes it. Publishing fails with LD_ERR_IO, and removes the temporary
 * file, if anything did not reach the disk. No locks: network file systems
 * break them.
 *
 * What a killed writer of `path` left is removed when the next asks for a name:
 * if it ran here (host, boot and PID name space tell) and its process is gone;
 * or if nobody has written to it for a day. */
bool ld_file_temporary(const char *path, char out[4096], struct ld_err *err);
bool ld_file_publish(const char *temporary, const char *path,
                     struct ld_err *err);

/* As ld_file_publish where writers of one path write the same: the first stays,
 * so that who reads it already keeps it, and the others' are dropped, which is
 * no failure. Where the file system has no hard links, the last stays. */
bool ld_file_publish_first(const char *temporary, const char *path,
                           struct ld_err *err);

/* True if another living process has a temporary file for `path`. A hint that
 * saves work, not a lock: it may be false a moment later. */
bool ld_file_is_being_written(const char *path);

/* Makes it true for others before this process writes to `path`, and takes that
 * back. */
void ld_file_claim(const char *path);
void ld_file_unclaim(const char *path);

/* Removes all that killed writers left in a folder. */
void ld_folder_tidy(const char *folder);

/* Makes a folder and those above it; an existing one is fine. */
bool ld_folder_make(const char *path, struct ld_err *err);

/* "a/b" + "c" -> "a/b/c"; an absolute `name` stays. */
bool ld_path_join(char out[4096], const char *folder, const char *name,
                  struct ld_err *err);

/* SHA-256 of a file's bytes as 64 hex digits and a zero. */
bool ld_file_sha256(const char *path, char out[65], struct ld_err *err);
void ld_bytes_sha256(const void *bytes, size_t len, char out[65]);
