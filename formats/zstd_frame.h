/* zstd_frame.h - frames of Zstandard (RFC 8878), faster than libzstd. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What one decoder works in. */
struct ld_zstd_work;
