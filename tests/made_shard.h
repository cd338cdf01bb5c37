/* made_shard.h - shards made up for tests: records that depend on a seed. */
#pragma once

#include "formats/shard.h"

/* Facts of a small cache: 3 classes unless n_classes says otherwise. */
struct ld_shard_facts made_facts(int n_classes, enum ld_storage storage);

/* A record on a canvas of H x W with about `n_rows` rows (fewer if the canvas
 * is small), one in eight of the main region, and, if the facts have feature
 * channels, features at half as many places. A dense record has every location,
 * half of them of neither region. The arena's. */
struct ld_record made_record(const struct ld_shard_facts *facts, int64_t id,
                             bool flipped, int H, int W, int n_rows,
                             struct ld_arena *arena);

/* Writes views 0 .. n_views - 1: image i / 2 + 1, plain and flipped in turn. */
bool made_shard(const char *path, const struct ld_shard_facts *facts,
                int n_views, int n_rows, struct ld_err *err);
/* The record that made_shard wrote at `index`. */
struct ld_record made_view(const struct ld_shard_facts *facts, int index,
                           int n_rows, struct ld_arena *arena);
