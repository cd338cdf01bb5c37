#include "formats/zstd_filter.h"

#include <hdf5.h>
#include <zstd.h>

enum { MAX_CHUNK_BYTES = 1 << 28, LEVEL = 1 };

static size_t compress_chunk(void *out, size_t room, const void *in, size_t len)
{
    ZSTD_CCtx *zstd = ZSTD_createCCtx();
    size_t n = 0;

    if (!zstd)
        return 0;
    ZSTD_CCtx_setParameter(zstd, ZSTD_c_compressionLevel, LEVEL);
    ZSTD_CCtx_setParameter(zstd, ZSTD_c_checksumFlag, 1);
    n = ZSTD_compress2(zstd, out, room, in, len);
    ZSTD_freeCCtx(zstd);
    return ZSTD_isError(n) ? 0 : n;
}

/* H5Z_func_t: replaces *buffer (*room bytes, `len` of them used) and returns
 * the new length, or 0 for a failure. */
static size_t filter(unsigned flags, size_t n_values, const unsigned values[],
                     size_t len, size_t *room, void **buffer)
{
    bool reading = flags & H5Z_FLAG_REVERSE;
    unsigned long long size = reading ? ZSTD_getFrameContentSize(*buffer, len)
                                      : ZSTD_compressBound(len);
    void *out;
    size_t n;

    (void)n_values;
    (void)values;
    /* Also refuses ZSTD_CONTENTSIZE_UNKNOWN and _ERROR, which are huge. */
    if (size == 0 || size > MAX_CHUNK_BYTES)
        return 0;
    out = H5allocate_memory((size_t)size, false);
    if (!out)
        return 0;
    n = reading ? ZSTD_decompress(out, (size_t)size, *buffer, len)
                : compress_chunk(out, (size_t)size, *buffer, len);
    if (n == 0 || ZSTD_isError(n)) {
        H5free_memory(out);
        return 0;
    }
    H5free_memory(*buffer);
    *buffer = out;
    *room = (size_t)size;
    return n;
}

bool ld_zstd_filter_register(void)
{
    static const H5Z_class2_t zstd = {
        .version = H5Z_CLASS_T_VERS,
        .id = LD_ZSTD_FILTER,
        .encoder_present = 1,
        .decoder_present = 1,
        .name = "Zstandard",
        .filter = filter,
    };

    return H5Zregister(&zstd) >= 0;
}
