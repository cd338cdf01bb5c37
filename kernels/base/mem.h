/* mem.h - the only place that calls malloc.
 *
 * Two shapes of memory serve the whole program: an arena, for many things that
 * die together, and a buffer, for one run of bytes that grows up to a limit.
 * What lives for the whole run and is freed alone comes from ld_new. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "kernels/base/error.h"

/* Room for `count` items of `size` bytes, zeroed, aligned to 64 bytes; the
 * caller gives it to ld_delete. NULL means LD_ERR_MEMORY, also when
 * count * size wraps; a count of 0 gives a pointer all the same. */
void *ld_new(size_t count, size_t size, struct ld_err *err);
void ld_delete(void *memory); /* NULL is fine */

/* Many objects, one lifetime. Zero-initialised is empty. */
struct ld_arena {
    struct ld_block *blocks; /* newest first */
    size_t used;             /* bytes handed out since the last clear */
    size_t peak;             /* the largest `used` so far */
};

/* As ld_new, but the arena owns it. */
void *ld_arena_new(struct ld_arena *arena, size_t count, size_t size,
                   struct ld_err *err);

/* The same with whatever was there, for what is written whole at once. */
void *ld_arena_room(struct ld_arena *arena, size_t count, size_t size,
                    struct ld_err *err);

/* A copy of the first `len` bytes of `text`, ended by a zero byte. */
char *ld_arena_text(struct ld_arena *arena, const char *text, size_t len,
                    struct ld_err *err);

/* Forgets every object and keeps the memory, as one block, for the next round:
 * a round no larger than the largest before allocates nothing. */
void ld_arena_clear(struct ld_arena *arena);

/* Gives every block back to the system. An empty arena is fine. */
void ld_arena_free(struct ld_arena *arena);

/* One run of bytes. `max` is set by the owner before the first write. */
struct ld_buf {
    unsigned char *data;
    size_t len, cap;
    size_t max;  /* a write past this length fails */
    bool failed; /* sticky: write freely, ask once with ld_buf_ok() */
};

/* Appends `len` bytes, copied from `bytes`, or left unset if it is NULL. */
void ld_buf_put(struct ld_buf *buf, const void *bytes, size_t len);
void ld_buf_printf(struct ld_buf *buf, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
bool ld_buf_ok(const struct ld_buf *buf, struct ld_err *err);
void ld_buf_free(struct ld_buf *buf);

/* Test hook: the allocation after `count` more fails; negative turns it off. */
void ld_mem_fail_after(int count);
