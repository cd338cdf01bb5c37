/* coco_sections.h - COCO's JSON as three plain lists, nothing resolved yet.
 * Internal to coco.c. */
#pragma once

#include "formats/dataset_make.h"
#include "formats/file.h"
#include "formats/json.h"

struct ld_coco_image {
    int64_t id;
    const char *name; /* in the store's arena */
    const char *at;   /* in the text, for errors; so below */
    int32_t H, W;
};

struct ld_coco_category {
    int64_t id;
    const char *name, *at;
    int32_t class_index; /* -1: not wanted */
};

struct ld_coco_annotation {
    int64_t image_id, category_id;
    const char *at;
    struct ld_box box;
    float area;
    bool crowd;
    bool usable;                   /* not marked `ignore`, not degenerate */
    int32_t i_sample, class_index; /* set by coco.c; -1: not wanted */
};

/* All that is needed while one file is read. The sections may come in any
 * order, so coco.c makes the data set after the last. */
struct ld_coco {
    struct ld_dataset_store *store;
    struct ld_err *err;
    struct ld_file file;
    struct ld_json json;
    struct ld_buf images, categories, annotations; /* arrays of the above */
    struct ld_buf text;                            /* of the string just read */
    struct sha256_ctx hash;
    size_t n_hashed;
};

/* Fills the lists and the hash from `file`, through `json`, which is open at
 * its beginning. Refuses an item without what a data set needs. The memory of
 * the text is given back while it is read. */
bool ld_coco_read_sections(struct ld_coco *c);

/* Records an error at a place of the text. Returns false. */
bool ld_coco_fail(struct ld_coco *c, const char *at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
