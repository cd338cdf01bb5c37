#include "formats/shard_pending.h"

#include <string.h>

/* 16384 rows settle 64 weights a column; main rows are a tenth or less. */
enum { ENOUGH_ROWS = 32768, ENOUGH_MAIN = 4096 };

static const size_t MOST_BYTES = (size_t)256 << 20;

/* Temperatures of the losses that read them: spec losses 5, 6. */
static const double LD_TEMPERATURE = 10, KD_TEMPERATURE = 2;

static bool copy(const void **field, size_t count, size_t size,
                 struct ld_arena *arena, struct ld_err *err)
{
    void *to = ld_arena_new(arena, count, size, err);

    if (to && count > 0)
        memcpy(to, *field, count * size);
    *field = to;
    return to != NULL;
}

bool ld_pending_keep(struct ld_pending *p, const struct ld_record *record,
                     const struct ld_shard_facts *facts, struct ld_err *err)
{
    struct ld_record r = *record;
    size_t n = (size_t)r.n_rows, m = (size_t)r.n_main;
    size_t f = (size_t)r.n_features;
    size_t box = 4 * ((size_t)facts->reg_max + 1);
    size_t K = (size_t)facts->n_logits, C = (size_t)facts->feature_channels;

    if (!copy((const void **)&r.location, n, sizeof(*r.location), &p->arena,
              err) ||
        !copy((const void **)&r.kind, n, sizeof(*r.kind), &p->arena, err) ||
        !copy((const void **)&r.box_logits, n * box, sizeof(float), &p->arena,
              err) ||
        !copy((const void **)&r.class_logits, m * K, sizeof(float), &p->arena,
              err) ||
        !copy((const void **)&r.feature_location, f,
              sizeof(*r.feature_location), &p->arena, err) ||
        !copy((const void **)&r.features, f * C, sizeof(float), &p->arena, err))
        return false;
    p->records.max = (size_t)1 << 30;
    ld_buf_put(&p->records, &r, sizeof(r));
    p->n_rows += n;
    p->n_main += m;
    return ld_buf_ok(&p->records, err);
}

bool ld_pending_enough(const struct ld_pending *p)
{
    return (p->n_rows >= ENOUGH_ROWS && p->n_main >= ENOUGH_MAIN) ||
           p->arena.used > MOST_BYTES;
}

/* All box rows that wait, or all class rows, end to end. */
static float *gather(const struct ld_pending *p, bool box, size_t width,
                     struct ld_err *err)
{
    size_t n = box ? p->n_rows : p->n_main;
    const struct ld_record *records =
        (const struct ld_record *)(const void *)p->records.data;
    float *rows = ld_new(n * width, sizeof(*rows), err), *to = rows;

    for (size_t i = 0; rows && i < p->records.len / sizeof(*records); i++) {
        const struct ld_record *r = &records[i];
        size_t count = (size_t)(box ? r->n_rows : r->n_main) * width;

        if (count > 0)
            memcpy(to, box ? r->box_logits : r->class_logits,
                   count * sizeof(*to));
        to += count;
    }
    return rows;
}

static bool fit(const struct ld_pending *p, struct ld_steps *s, bool box,
                double T, const struct ld_shard_facts *facts,
                struct ld_err *err)
{
    size_t width = (size_t)s->groups * (size_t)s->width;
    float *rows = gather(p, box, width, err);
    struct ld_column columns[LD_N_COLUMNS];
    bool ok;

    ld_columns_of(facts, columns);
    ok = rows &&
         ld_steps_fit(s, rows, box ? p->n_rows : p->n_main, T,
                      facts->asked_gradient_error,
                      columns[box ? LD_COLUMN_BOX : LD_COLUMN_CLASS].chunk_rows,
                      err);

    ld_delete(rows);
    return ok;
}

bool ld_pending_fit(const struct ld_pending *p, struct ld_shard_steps *steps,
                    const struct ld_shard_facts *facts, struct ld_err *err)
{
    return fit(p, &steps->box, true, LD_TEMPERATURE, facts, err) &&
           fit(p, &steps->class_rows, false, KD_TEMPERATURE, facts, err);
}

void ld_pending_free(struct ld_pending *p)
{
    ld_arena_free(&p->arena);
    ld_buf_free(&p->records);
    *p = (struct ld_pending){.settled = p->settled};
}
