#include "trainer/fit_rows.h"

#include <string.h>

static bool same_rows(const struct ld_assignment *a, const struct ld_record *r)
{
    bool same = a->n_rows == r->n_rows;

    for (int i = 0; same && i < a->n_rows; i++)
        same = a->rows[i].location == r->location[i] &&
               a->rows[i].kind == r->kind[i];
    return same;
}

/* Those rows of a dense record, `bytes` each, that are assigned. */
static void *take(const struct ld_assignment *a, const void *rows, size_t bytes,
                  struct ld_arena *arena, struct ld_err *err)
{
    char *to = ld_arena_new(arena, (size_t)a->n_rows, bytes, err);

    for (int i = 0; to && i < a->n_rows; i++)
        memcpy(to + (size_t)i * bytes,
               (const char *)rows + (size_t)a->rows[i].location * bytes, bytes);
    return to;
}

static bool take_rows(struct ld_batch_image *image,
                      const struct ld_shard_facts *facts,
                      struct ld_arena *arena, struct ld_err *err)
{
    const struct ld_assignment *a = &image->assignment;
    struct ld_record *r = &image->record;
    size_t sides = 4 * ((size_t)facts->reg_max + 1);
    size_t kept = (sides - (size_t)ld_shard_runs(facts)) * sizeof(int16_t);
    size_t K = (size_t)facts->n_logits;

    r->n_rows = r->n_main = a->n_rows; /* location and kind: as assigned */
    if (r->box_kept) {
        r->box_kept = take(a, r->box_kept, kept, arena, err);
        r->class_kept = take(a, r->class_kept, K * sizeof(int16_t), arena, err);
        return r->box_kept && r->class_kept;
    }
    r->box_logits = take(a, r->box_logits, sides * sizeof(float), arena, err);
    r->class_logits = take(a, r->class_logits, K * sizeof(float), arena, err);
    return r->box_logits && r->class_logits;
}

bool ld_fit_rows(struct ld_batch_image *image,
                 const struct ld_shard_facts *facts, struct ld_arena *arena,
                 struct ld_err *err)
{
    if (facts->select == LD_SELECT_DENSE)
        return take_rows(image, facts, arena, err);
    return same_rows(&image->assignment, &image->record) ||
           ld_fail(err, LD_ERR_MISMATCH,
                   "image %lld (%s): the cache's %d rows are not the %d "
                   "rows of its annotations: cache it again",
                   (long long)image->sample->id, image->sample->name,
                   image->record.n_rows, image->assignment.n_rows);
}
