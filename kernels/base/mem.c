#include "kernels/base/mem.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Blocks double up to a size: behind one huge object the next is not huger. */
enum { ALIGN = 64, FIRST_BLOCK = 64 << 10, LAST_BLOCK = 4 << 20 };

struct ld_block {
    struct ld_block *next;
    size_t size, used; /* of `bytes` */
    _Alignas(ALIGN) unsigned char bytes[];
};

/* The one mutable global of the program: set by tests, read everywhere. */
static _Atomic int allocations_left = -1;

void ld_mem_fail_after(int count)
{
    allocations_left = count;
}

static void *aligned_zeroed(size_t bytes)
{
    size_t rounded = (bytes + ALIGN - 1) / ALIGN * ALIGN;
    void *memory;

    if (rounded < bytes)
        return NULL;
    if (allocations_left >= 0 && allocations_left-- == 0)
        return NULL;
    memory = aligned_alloc(ALIGN, rounded ? rounded : ALIGN);
    if (memory)
        memset(memory, 0, rounded);
    return memory;
}

void *ld_new(size_t count, size_t size, struct ld_err *err)
{
    size_t bytes;
    void *memory = NULL;

    if (!__builtin_mul_overflow(count, size, &bytes))
        memory = aligned_zeroed(bytes);
    if (!memory)
        ld_fail(err, LD_ERR_MEMORY, "out of memory: %zu items of %zu bytes",
                count, size);
    return memory;
}

void ld_delete(void *memory)
{
    free(memory);
}

static struct ld_block *block_new(size_t size, struct ld_err *err)
{
    struct ld_block *block = NULL;

    if (size <= SIZE_MAX - sizeof(*block))
        block = ld_new(sizeof(*block) + size, 1, err);
    else
        ld_fail(err, LD_ERR_MEMORY, "out of memory: %zu bytes", size);
    if (block)
        block->size = size;
    return block;
}

void *ld_arena_room(struct ld_arena *arena, size_t count, size_t size,
                    struct ld_err *err)
{
    struct ld_block *block = arena->blocks;
    size_t bytes, rounded;
    void *memory;

    if (__builtin_mul_overflow(count, size, &bytes) ||
        bytes > SIZE_MAX - ALIGN) {
        ld_fail(err, LD_ERR_MEMORY, "out of memory: %zu items of %zu bytes",
                count, size);
        return NULL;
    }
    rounded = (bytes / ALIGN + 1) * ALIGN;
    if (!block || block->size - block->used < rounded) {
        size_t grown = !block                         ? FIRST_BLOCK
                       : block->size < LAST_BLOCK / 2 ? 2 * block->size
                                                      : LAST_BLOCK;

        block = block_new(rounded > grown ? rounded : grown, err);
        if (!block)
            return NULL;
        block->next = arena->blocks;
        arena->blocks = block;
    }
    memory = block->bytes + block->used;
    block->used += rounded;
    arena->used += rounded;
    if (arena->used > arena->peak)
        arena->peak = arena->used;
    return memory;
}

void *ld_arena_new(struct ld_arena *arena, size_t count, size_t size,
                   struct ld_err *err)
{
    void *memory = ld_arena_room(arena, count, size, err);

    if (memory)
        memset(memory, 0, count * size);
    return memory;
}

char *ld_arena_text(struct ld_arena *arena, const char *text, size_t len,
                    struct ld_err *err)
{
    char *copy = ld_arena_new(arena, len + 1, 1, err);

    if (copy)
        memcpy(copy, text, len);
    return copy;
}

void ld_arena_clear(struct ld_arena *arena)
{
    struct ld_err ignored = {0};
    struct ld_block *one = arena->blocks;

    /* A round that needed several is merged into one; failing that, the newest
     * alone serves and grows again. */
    if (one && one->next) {
        struct ld_block *merged = block_new(arena->peak, &ignored);
        size_t peak = arena->peak;

        if (merged) {
            ld_arena_free(arena);
            arena->blocks = merged;
            arena->peak = peak;
        }
    }
    for (one = arena->blocks; one; one = one->next)
        one->used = 0;
    arena->used = 0;
}

void ld_arena_free(struct ld_arena *arena)
{
    while (arena->blocks) {
        struct ld_block *next = arena->blocks->next;

        ld_delete(arena->blocks);
        arena->blocks = next;
    }
    *arena = (struct ld_arena){0};
}

static bool buf_reserve(struct ld_buf *buf, size_t more)
{
    size_t cap = buf->cap ? buf->cap : 256;
    unsigned char *data;

    if (buf->failed || more > buf->max || buf->len > buf->max - more)
        return false;
    if (buf->len + more <= buf->cap)
        return true;
    while (cap < buf->len + more)
        cap *= 2;
    if (allocations_left >= 0 && allocations_left-- == 0)
        return false;
    data = realloc(buf->data, cap);
    if (!data)
        return false;
    buf->data = data;
    buf->cap = cap;
    return true;
}

void ld_buf_put(struct ld_buf *buf, const void *bytes, size_t len)
{
    if (!buf_reserve(buf, len)) {
        buf->failed = true;
        return;
    }
    if (bytes && len)
        memcpy(buf->data + buf->len, bytes, len);
    buf->len += len;
}

void ld_buf_printf(struct ld_buf *buf, const char *format, ...)
{
    va_list args, again;
    int len;

    va_start(args, format);
    va_copy(again, args);
    len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (len < 0 || !buf_reserve(buf, (size_t)len + 1)) {
        buf->failed = true;
    } else {
        vsnprintf((char *)buf->data + buf->len, (size_t)len + 1, format, again);
        buf->len += (size_t)len;
    }
    va_end(again);
}

bool ld_buf_ok(const struct ld_buf *buf, struct ld_err *err)
{
    if (!buf->failed)
        return true;
    return ld_fail(err, LD_ERR_MEMORY, "more than %zu bytes, or out of memory",
                   buf->max);
}

void ld_buf_free(struct ld_buf *buf)
{
    free(buf->data);
    *buf = (struct ld_buf){.max = buf->max};
}
