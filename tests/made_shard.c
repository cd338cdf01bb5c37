#include "tests/made_shard.h"

#include <math.h>
#include <unistd.h>

#include "kernels/base/rng.h"

struct ld_shard_facts made_facts(int n_classes, enum ld_storage storage)
{
    static const char *names[80] = {"disc", "square", "triangle"};

    for (int k = 3; k < 80; k++)
        names[k] = "another thing";
    return (struct ld_shard_facts){
        .program = "ld-cache test",
        .teacher_sha256 = "0123456789abcdef",
        .teacher_model = "GFL R-18, FPN 64",
        .annotations_sha256 = "fedcba9876543210",
        .class_names = names,
        .n_classes = n_classes,
        .n_logits = n_classes,
        .reg_max = 16,
        .n_anchors = 1,
        .long_edge = 1333,
        .multi_scale = "none",
        .short_edges = "800",
        .view_flip = true,
        .divisor = 32,
        .mean = {123.675F, 116.28F, 103.53F},
        .std = {58.395F, 57.12F, 57.375F},
        .assigner = "ATSS topk 9",
        .vlr_mode = "code",
        .vlr_gamma = 0.25F,
        .imitation = "none",
        .storage = storage,
        .part = 0,
        .n_parts = 1,
    };
}

/* A bump over the bins and noise: unimodal, of the sharpness that detectors
 * have. */
static void make_side(float *bins, int B, struct ld_rng *rng)
{
    float centre = (float)(B - 1) * ld_rng_uniform(rng);
    float height = 2 + 5 * ld_rng_uniform(rng);
    float width = 0.7F + ld_rng_uniform(rng);
    float shift = ld_rng_normal(rng);

    for (int b = 0; b < B; b++) {
        float away = ((float)b - centre) / width;

        bins[b] = height * expf(-away * away / 2) - 0.18F * fabsf(away) +
                  shift + 0.3F * ld_rng_normal(rng);
    }
}

static void make_classes(float *logits, int K, struct ld_rng *rng)
{
    float shift = 0.5F * ld_rng_normal(rng);

    for (int k = 0; k < K; k++)
        logits[k] = -6 + shift + 0.6F * ld_rng_normal(rng);
    logits[ld_rng_below(rng, (uint32_t)K)] = 2 * ld_rng_normal(rng);
}

/* Rows near each other, as an object's are, over a canvas of A locations. */
static int make_places(int32_t *location, uint8_t *kind, int A, int n_rows,
                       struct ld_rng *rng)
{
    int n = 0;

    for (int a = 0; a < A && n < n_rows; a++) {
        if (ld_rng_below(rng, (uint32_t)(A - a)) >= (uint32_t)(n_rows - n))
            continue;
        location[n] = a;
        kind[n] = ld_rng_below(rng, 8) == 0 ? LD_SHARD_MAIN : LD_SHARD_VLR;
        if (kind[n] == LD_SHARD_MAIN && ld_rng_below(rng, 2))
            kind[n] |= LD_SHARD_VLR;
        n++;
    }
    return n;
}

/* Features at half as many places as there are rows. */
static void add_features(struct ld_record *record,
                         const struct ld_shard_facts *facts,
                         struct ld_arena *arena)
{
    const struct ld_view *view = &record->view;
    struct ld_grid grid = ld_grid_of_canvas(view->canvas_H, view->canvas_W);
    struct ld_rng rng = ld_rng_seed((uint64_t)record->image_id, 7);
    size_t n = (size_t)record->n_rows / 2, C = (size_t)facts->feature_channels;
    struct ld_err err = {0};
    int32_t *location = ld_arena_new(arena, n, sizeof(*location), &err);
    uint8_t *unused = ld_arena_new(arena, n, 1, &err);
    float *features = ld_arena_new(arena, n * C, sizeof(*features), &err);

    record->n_features =
        make_places(location, unused, grid.start[grid.n_levels], (int)n, &rng);
    for (size_t i = 0; i < (size_t)record->n_features * C; i++)
        features[i] = ld_rng_normal(&rng);
    record->feature_location = location;
    record->features = features;
}

struct ld_record made_record(const struct ld_shard_facts *facts, int64_t id,
                             bool flipped, int H, int W, int n_rows,
                             struct ld_arena *arena)
{
    struct ld_err err = {0};
    struct ld_rng rng = ld_rng_seed((uint64_t)id, flipped);
    struct ld_grid grid = ld_grid_of_canvas(H, W);
    size_t B = (size_t)facts->reg_max + 1, K = (size_t)facts->n_logits;
    bool dense = facts->select == LD_SELECT_DENSE;
    int most = dense ? grid.start[grid.n_levels] : n_rows;
    size_t n = (size_t)most, m = 0;
    int32_t *location = ld_arena_new(arena, n, sizeof(*location), &err);
    uint8_t *kind = ld_arena_new(arena, n, 1, &err);
    float *box = ld_arena_new(arena, n * 4 * B, sizeof(*box), &err);
    float *class = ld_arena_new(arena, n * K, sizeof(*class), &err);
    struct ld_record record;

    n = (size_t)make_places(location, kind, grid.start[grid.n_levels], most,
                            &rng);
    for (size_t i = 0; dense && i < n; i++)
        if (ld_rng_below(&rng, 2))
            kind[i] = 0;
    for (size_t i = 0; i < 4 * n; i++)
        make_side(box + i * B, (int)B, &rng);
    for (size_t i = 0; i < n; i++)
        if (ld_shard_all_classes(facts) || (kind[i] & LD_SHARD_MAIN))
            make_classes(class + m++ * K, (int)K, &rng);
    record = (struct ld_record){
        .image_id = id,
        .view = {.H = H - 5,
                 .W = W - 9,
                 .canvas_H = H,
                 .canvas_W = W,
                 .flipped = flipped,
                 .number = flipped},
        .n_rows = (int)n,
        .n_main = (int)m,
        .location = location,
        .kind = kind,
        .box_logits = box,
        .class_logits = class,
        .n_logits = facts->n_logits,
    };
    if (facts->feature_channels > 0)
        add_features(&record, facts, arena);
    return record;
}

struct ld_record made_view(const struct ld_shard_facts *facts, int index,
                           int n_rows, struct ld_arena *arena)
{
    int side = n_rows > 200 ? 800 : 128;

    return made_record(facts, index / 2 + 1, index % 2, side,
                       side + 32 * (index / 2 % 3), n_rows, arena);
}

bool made_shard(const char *path, const struct ld_shard_facts *facts,
                int n_views, int n_rows, struct ld_err *err)
{
    struct ld_shard_writer *w = ld_shard_create(path, facts, err);
    struct ld_arena arena = {0};
    bool ok = w != NULL;

    unlink(path); /* what is there would stay */
    for (int i = 0; ok && i < n_views; i++) {
        struct ld_record record = made_view(facts, i, n_rows, &arena);

        ok = ld_shard_append(w, &record, err);
        ld_arena_clear(&arena);
    }
    ld_arena_free(&arena);
    if (ok)
        return ld_shard_finish(w, err);
    ld_shard_abandon(w);
    return false;
}
