#include "formats/dataset.h"

#include "formats/dataset_make.h"
#include "formats/file.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

bool ld_dataset_make_classes(struct ld_dataset_store *store, int n,
                             struct ld_err *err)
{
    struct ld_dataset *set = &store->set;
    size_t count = (size_t)n;

    set->n_classes = n;
    set->class_names =
        ld_arena_new(&store->arena, count, sizeof(*set->class_names), err);
    set->category_id =
        ld_arena_new(&store->arena, count, sizeof(*set->category_id), err);
    return set->class_names && set->category_id;
}

bool ld_dataset_box_meets_image(struct ld_box box, int H, int W)
{
    return fminf(box.x1, (float)W) > fmaxf(box.x0, 0) &&
           fminf(box.y1, (float)H) > fmaxf(box.y0, 0);
}

void ld_dataset_set_hash(struct ld_dataset *set, struct sha256_ctx *hash)
{
    uint8_t digest[SHA256_DIGEST_SIZE];

    sha256_digest(hash, sizeof(digest), digest);
    for (size_t i = 0; i < sizeof(digest); i++)
        snprintf(set->sha256 + 2 * i, 3, "%02x", digest[i]);
}

struct ld_dataset *ld_dataset_read(const struct ld_dataset_source *source,
                                   struct ld_err *err)
{
    struct ld_dataset_store *store = ld_new(1, sizeof(*store), err);
    bool ok;

    if (!store)
        return NULL;
    store->set.kind = source->kind;
    if (source->kind == LD_DATASET_COCO)
        ok = ld_coco_read(source, store, err);
    else
        ok = ld_voc_read(source, store, err);
    if (ok)
        return &store->set;
    ld_dataset_free(&store->set);
    return NULL;
}

void ld_dataset_free(struct ld_dataset *set)
{
    struct ld_dataset_store *store = (struct ld_dataset_store *)set;

    if (!store)
        return;
    ld_arena_free(&store->arena);
    ld_delete(store);
}

bool ld_dataset_path(const struct ld_dataset *set,
                     const struct ld_sample *sample, char out[4096],
                     struct ld_err *err)
{
    return ld_path_join(out, set->folder, sample->name, err);
}
