/* zstd_filter.h - Zstandard as HDF5's registered filter 32015.
 *
 * A chunk is one frame that tells its content's size and carries a checksum
 * of it: readable by every plug-in of that number, and by ZSTD_decompress. */
#pragma once

#include <stdbool.h>

enum { LD_ZSTD_FILTER = 32015 };

/* Makes the filter known to HDF5 in this process; may be repeated. False if
 * HDF5 refuses. */
bool ld_zstd_filter_register(void);
