/* shard.h - the cache on disk, and the only thing cache/ and trainer/ share.
 *
 * One HDF5 file, for h5dump and h5py with the registered Zstandard filter:
 *
 *   /rows/location  int32 (R)        location on the view's own grid
 *   /rows/kind      uint8 (R)        1 main, 2 VLR, 3 both; 0 neither, of a
 *                   dense cache, which has every location of a view
 *   /rows/box       fp32|fp16 (R, 4, B)   box logits: left, top, right, bottom
 *   /rows/class     fp32|fp16 (M, K)      class logits of the main rows, or of
 *                   all; then the background's, if the teacher has one:
 *                   (M, K + 1)
 *                   predicted: uint16 (4 B - 4, R) and (K, M), what was
 *                   foretold taken away (formats/steps.h, formats/predict.h),
 *                   by /steps/box_weight, .. and the attributes box_step,
 *                   class_step; column i is the box_place[i]-th; box logits
 * come back but for a constant a side /features/location  int32 (F)    if the
 * cache is to serve imitation: /features/rows  fp32|fp16 (F, C)      the
 * teacher's features there /index/...      one entry a view: image_id, view
 * (its number: 0 plain, 1 mirrored, or of the seeded ones), height, width,
 *                   canvas_height, canvas_width, flipped, row_start, n_rows,
 *                   main_start, n_main, checksum (CRC-32 of the view's stored
 *                   bytes but the predicted: their frames have their own),
 *                   feature_start, n_features, feature_checksum
 *   /index/frames   uint64 (F, 2)    address and size in the file of each
 *                   chunk of location, then kind, box, class, and of the
 *                   features' location and rows
 *   /skipped/...    image_id, reason: images that precompute left out
 *   attributes      struct ld_shard_facts, one attribute a field
 *
 * Rows of all views stand end to end, in chunks; a chunk is shuffled (filter
 * 2), then one Zstandard frame (filter 32015). Readers pread the frames,
 * outside HDF5's global lock. The user block is a seal (formats/seal.h): all
 * but the frames is proved undamaged before HDF5 reads any of it. A shard is
 * written to a temporary name and published whole (formats/file.h). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "formats/codec.h"
#include "formats/view.h"
#include "kernels/base/mem.h"
#include "kernels/box.h"

enum { LD_SHARD_FORMAT = 4 };

/* Bits of a row's kind, as in assignment. */
enum { LD_SHARD_MAIN = 1, LD_SHARD_VLR = 2 };

/* What is kept of a view; each holds the ones before it. */
enum ld_select {
    LD_SELECT_LD,      /* box rows of both regions, class rows of the main */
    LD_SELECT_VLR_ALL, /* class rows of both regions too: M = R */
    LD_SELECT_DENSE,   /* box and class rows of every location */
};
const char *ld_select_name(enum ld_select select); /* "ld", "vlr-all", .. */

/* Where a cache came from. The trainer compares all of it with its run. */
struct ld_shard_facts {
    int format;
    const char *program;            /* "ld-cache 0.1.0" */
    const char *teacher_sha256;     /* of the checkpoint file */
    const char *teacher_model;      /* "GFL R-101, FPN 256, ..." for people */
    const char *annotations_sha256; /* of the data set */
    const char **class_names;
    int n_classes, reg_max;
    int n_anchors; /* locations a place: 1; 9 of RetinaNet (kernels/box.h) */
    int n_logits;  /* of a class row: n_classes, or one more */
    int long_edge, divisor;
    const char *multi_scale; /* "none", "range", "value" */
    const char *short_edges; /* "800", "480 to 800", "640, 800" */
    int seeded_views;        /* K views an image; 0: plain and mirrored */
    int view_seed;           /* that drew them; 0 without */
    bool view_flip;          /* mirrored views are there too */
    float mean[3], std[3];
    bool bgr;             /* the order of planes, mean and std */
    const char *assigner; /* "ATSS topk 9", "FCOS" */
    const char *vlr_mode; /* "code" or "diou"; of FCOS "inside" */
    float vlr_gamma;
    bool vlr_exclude_main;
    enum ld_select select;
    const char *imitation; /* where features are held: "finegrained", ..;
                              "none" */
    int feature_channels;  /* C; 0: no features are held */
    enum ld_storage storage;
    double asked_gradient_error; /* late, of predicted storage; else 0 */
    /* Of LD at temperature 10, KD at 2 (formats/codec.h). Measured by the
     * writer itself, whatever these say when it starts; 0 for fp32. */
    double ld_gradient_error_early, ld_gradient_error_late;
    double kd_gradient_error_early, kd_gradient_error_late;
    double largest_logit_error;
    double feature_error; /* |stored - exact| / |exact|, over all features */
    /* Bytes a row of predicted storage at the entropy of its numbers; 0 else.
     * Measured by the writer. */
    double box_entropy, class_entropy;
    int part, n_parts; /* which shard of how many: 0 to n_parts - 1 */
};

/* Whether every row has a class row: M = R. */
static inline bool ld_shard_all_classes(const struct ld_shard_facts *facts)
{
    return facts->select != LD_SELECT_LD;
}

/* The distributions that a box row is to LD: its 4 sides, each of B bins; of
 * RetinaNet one of 4 B. Within one only differences count. */
int ld_shard_runs(const struct ld_shard_facts *facts);

/* The grid that the rows of a view are on. */
struct ld_grid ld_shard_grid(const struct ld_shard_facts *facts,
                             const struct ld_view *view);

struct ld_record {
    int64_t image_id;
    struct ld_view view;
    int n_rows, n_main;        /* n_main class rows: MAIN rows, or all */
    const int32_t *location;   /* (n_rows) rising */
    const uint8_t *kind;       /* (n_rows) LD_SHARD_MAIN | LD_SHARD_VLR */
    const float *box_logits;   /* (n_rows, 4, B) */
    const float *class_logits; /* (n_main, n_logits) */
    int n_logits;              /* as the facts say */
    /* Of ld_shard_read_kept, instead of the logits: whole numbers of a step, as
     * kernels/loss.h reads them; (n_rows, 4 B - ld_shard_runs) and (n_main,
     * n_logits). */
    const int16_t *box_kept, *class_kept;
    float box_step, class_step;
    int n_features;
    const int32_t *feature_location; /* (n_features) rising */
    const float *features;           /* (n_features, C) */
};

/* ---- writing ---- */
struct ld_shard_writer;
/* Copies what it needs of facts; `format` is set here. Memory does not grow
 * with the records but for their index entries. LD_ERR_IO names the file. */
struct ld_shard_writer *ld_shard_create(const char *path,
                                        const struct ld_shard_facts *facts,
                                        struct ld_err *err);
/* LD_ERR_NUMBER names the image if a number is not finite: nothing of it is
 * written. LD_ERR_IO: the disk is full, say; then only ld_shard_abandon helps.
 */
bool ld_shard_append(struct ld_shard_writer *w, const struct ld_record *record,
                     struct ld_err *err);
/* An image that could not be read and was left out, by the user's option. */
bool ld_shard_skip(struct ld_shard_writer *w, int64_t image_id,
                   const char *reason, struct ld_err *err);
/* Publishes; frees in any case. After a failure nothing is left on disk. If a
 * file has the name by now, it stays: another process was quicker. */
bool ld_shard_finish(struct ld_shard_writer *w, struct ld_err *err);
void ld_shard_abandon(struct ld_shard_writer *w); /* frees, removes the file */

/* ---- reading ---- */
struct ld_shard;
/* Reads and proves everything but the rows. LD_ERR_IO, or LD_ERR_FORMAT: no
 * shard, of another version, damaged or cut short. */
struct ld_shard *ld_shard_open(const char *path, struct ld_err *err);
void ld_shard_close(struct ld_shard *shard);             /* NULL is fine */
const char *ld_shard_path(const struct ld_shard *shard); /* as opened */
const struct ld_shard_facts *ld_shard_facts(const struct ld_shard *shard);
int ld_shard_count(const struct ld_shard *shard); /* views */
/* Entry of the index; the rows' pointers are NULL. */
void ld_shard_entry(const struct ld_shard *shard, int index,
                    struct ld_record *out);
int ld_shard_n_skipped(const struct ld_shard *shard);
/* The image's id; *reason, if asked for, is the shard's. */
int64_t ld_shard_skipped(const struct ld_shard *shard, int index,
                         const char **reason);

/* The record at `index`, its arrays the arena's, but for the features. Any
 * number of threads may read one shard. LD_ERR_FORMAT names the shard, image
 * and view where the checksum does not match. */
bool ld_shard_read(const struct ld_shard *shard, int index,
                   struct ld_arena *arena, struct ld_record *out,
                   struct ld_err *err);

/* The same, but of predicted storage what is kept of the rows. */
bool ld_shard_read_kept(const struct ld_shard *shard, int index,
                        struct ld_arena *arena, struct ld_record *out,
                        struct ld_err *err);

/* Adds to a record of ld_shard_read the features of its view, the arena's.
 * LD_ERR_FORMAT as there. */
bool ld_shard_read_features(const struct ld_shard *shard, int index,
                            struct ld_arena *arena, struct ld_record *record,
                            struct ld_err *err);

/* As ld_shard_read without logits (NULL): places and kinds, for a tenth of the
 * work, proved by the checksums of their frames. */
bool ld_shard_read_places(const struct ld_shard *shard, int index,
                          struct ld_arena *arena, struct ld_record *out,
                          struct ld_err *err);

/* The same of every view at once, which decodes each frame but once: *out holds
 * ld_shard_count records, the arena's as all in them. LD_ERR_FORMAT names the
 * first damaged view. */
bool ld_shard_read_all_places(const struct ld_shard *shard,
                              struct ld_record **out, struct ld_arena *arena,
                              struct ld_err *err);

/* Reads the whole file and compares it with its seal: notices even a changed
 * byte that decodes to the same rows. LD_ERR_FORMAT names the file; to learn
 * which views are damaged, ld_shard_read each. */
bool ld_shard_check(const struct ld_shard *shard, struct ld_err *err);

/* Stored bytes, as in the file, by part of the shard. */
struct ld_shard_sizes {
    int64_t file, location, kind, box, class_rows;
    int64_t features; /* with their locations */
    int64_t index;    /* all else: index, attributes, HDF5's own */
    int64_t n_rows, n_main, n_features;
};
void ld_shard_sizes(const struct ld_shard *shard, struct ld_shard_sizes *out);

/* ---- a cache: all shards of a folder, with one index ---- */
struct ld_cache;
/* Paths of all "*.h5" of a folder, by name; the arena's. LD_ERR_IO if there is
 * none. */
bool ld_cache_list(const char *folder, const char ***paths, int *count,
                   struct ld_arena *arena, struct ld_err *err);
/* "part-00002-of-00115.h5", the third. */
void ld_shard_part_name(int part, int n_parts, char out[64]);
/* Opens every shard of the folder; unfinished temporary files are none. Shards
 * that disagree among themselves, a missing part or a view held twice:
 * LD_ERR_MISMATCH. */
struct ld_cache *ld_cache_open(const char *folder, struct ld_err *err);
void ld_cache_close(struct ld_cache *cache); /* NULL is fine */
const struct ld_shard_facts *ld_cache_facts(const struct ld_cache *cache);
int ld_cache_n_shards(const struct ld_cache *cache);
const struct ld_shard *ld_cache_shard(const struct ld_cache *cache, int index);
/* False if the cache lacks the view of this number (formats/views.h). */
bool ld_cache_find(const struct ld_cache *cache, int64_t image_id, int view,
                   const struct ld_shard **shard, int *index);
/* True if the image was skipped by precompute. */
bool ld_cache_skipped(const struct ld_cache *cache, int64_t image_id);

/* True if `facts` fit the run's `wanted`. A text that is NULL in `wanted` fits
 * any, imitation with any channels; program, storage, the errors, part and
 * n_parts are not compared. What holds more than the run reads fits: mirrored
 * views too, a wider select, and a dense cache any rules of regions, as it has
 * the rows of all. LD_ERR_MISMATCH names `where`, the first field that differs
 * and both values. */
bool ld_shard_facts_match(const struct ld_shard_facts *facts,
                          const struct ld_shard_facts *wanted,
                          const char *where, struct ld_err *err);

/* True if `facts` are of a part of the job whose facts are `wanted`: as above,
 * and no more selected, and stored alike in as many parts. */
bool ld_shard_same_job(const struct ld_shard_facts *facts,
                       const struct ld_shard_facts *wanted, const char *where,
                       struct ld_err *err);
