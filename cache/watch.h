/* watch.h - how far a running ld-cache precompute is, by its folder alone. */
#pragma once

#include "kernels/base/error.h"

/* Says on stdout how many shards, views and bytes are there, how fast they come
 * and when the last will: on a terminal each second until the cache is
 * complete, else once. */
bool ld_watch(const char *folder, struct ld_err *err);
