/* loader.h - the next batch, ready when the trainer asks for it.
 *
 * Threads decode images and shards a few batches ahead. What a batch holds
 * depends on (seed, epoch, step) alone, never on timing or on the number of
 * threads, so a resumed run sees what the first would have. */
#pragma once

#include "formats/dataset.h"
#include "formats/image.h"
#include "formats/shard.h"
#include "formats/views.h"
#include "kernels/base/trace.h"
#include "kernels/net/imitate.h"

struct ld_batch_image {
    const struct ld_sample *sample;
    struct ld_image picture; /* as the file has it */
    struct ld_view view;
    struct ld_draw draw; /* the view, on its own canvas */
    int n_boxes;
    const struct ld_box *boxes;      /* (n_boxes) pixels of the view */
    const int32_t *labels;           /* (n_boxes) */
    struct ld_assignment assignment; /* on the view's own grid */
    struct ld_region region;         /* the same; of imitation that boxes or
                                        the cache tell, else empty */
    struct ld_record record;         /* its rows are assignment's rows; empty
                                        without a cache */
};

struct ld_batch {
    int64_t epoch, step_of_epoch;
    int N, H, W;                   /* canvas: the largest of the images' own */
    struct ld_batch_image *images; /* (N) */
};

struct ld_loader_plan {
    const struct ld_dataset *set;
    const struct ld_cache *cache; /* NULL: no teacher rows */
    struct ld_views views;
    enum ld_head head; /* whose locations these are */
    struct ld_assign_rules assign;
    bool imitate; /* features too: by the method below */
    enum ld_imitation imitation;
    int batch, repeat, n_threads; /* batch: of this rank */
    int rank, n_ranks; /* ranks share the batches of all, n_ranks * batch: in
                          order of ranks */
    uint64_t seed;
    bool group_by_aspect;   /* a batch's images are all wider than high, or none
                               is; those of unknown size count as not wide */
    struct ld_trace *trace; /* has a lane for each thread; NULL: none */
};

struct ld_loader;

/* The order of images is trainer/order.h's.
 *
 * Starts at (epoch, step_of_epoch). Images that the cache's maker left out are
 * left out here too. LD_ERR_MISMATCH if nothing is left. */
struct ld_loader *ld_loader_start(const struct ld_loader_plan *plan,
                                  int64_t epoch, int64_t step_of_epoch,
                                  struct ld_err *err);
void ld_loader_stop(struct ld_loader *loader); /* NULL is fine */
int64_t ld_loader_steps_per_epoch(const struct ld_loader *loader);

/* Borrowed until the next call. NULL with the first failure: an image that
 * cannot be read, a view that the cache lacks, rows that are not those of the
 * annotations (LD_ERR_MISMATCH). */
const struct ld_batch *ld_loader_next(struct ld_loader *loader,
                                      struct ld_err *err);

/* Seconds that ld_loader_next has waited in all. */
double ld_loader_waited(const struct ld_loader *loader);
