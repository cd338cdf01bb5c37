#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "formats/h5file.h"
#include "formats/shard_layout.h"

#define FACT(name, letter, count) \
    letter, #name, offsetof(struct ld_shard_facts, name), count

/* class_names, storage and select are apart. */
static const struct ld_field fact_fields[] = {
    {FACT(format, 'i', 1)},
    {FACT(program, 's', 1)},
    {FACT(teacher_sha256, 's', 1)},
    {FACT(teacher_model, 's', 1)},
    {FACT(annotations_sha256, 's', 1)},
    {FACT(reg_max, 'i', 1)},
    {FACT(n_anchors, 'i', 1)},
    {FACT(n_logits, 'i', 1)},
    {FACT(long_edge, 'i', 1)},
    {FACT(multi_scale, 's', 1)},
    {FACT(short_edges, 's', 1)},
    {FACT(seeded_views, 'i', 1)},
    {FACT(view_seed, 'i', 1)},
    {FACT(view_flip, 'B', 1)},
    {FACT(divisor, 'i', 1)},
    {FACT(mean, 'f', 3)},
    {FACT(std, 'f', 3)},
    {FACT(bgr, 'B', 1)},
    {FACT(assigner, 's', 1)},
    {FACT(vlr_mode, 's', 1)},
    {FACT(vlr_gamma, 'f', 1)},
    {FACT(vlr_exclude_main, 'B', 1)},
    {FACT(imitation, 's', 1)},
    {FACT(feature_channels, 'i', 1)},
    {FACT(asked_gradient_error, 'd', 1)},
    {FACT(ld_gradient_error_early, 'd', 1)},
    {FACT(ld_gradient_error_late, 'd', 1)},
    {FACT(kd_gradient_error_early, 'd', 1)},
    {FACT(kd_gradient_error_late, 'd', 1)},
    {FACT(largest_logit_error, 'd', 1)},
    {FACT(feature_error, 'd', 1)},
    {FACT(box_entropy, 'd', 1)},
    {FACT(class_entropy, 'd', 1)},
    {FACT(part, 'i', 1)},
    {FACT(n_parts, 'i', 1)},
};

const char *ld_select_name(enum ld_select select)
{
    static const char *const names[] = {"ld", "vlr-all", "dense"};

    return names[select];
}

enum { N_FACT_FIELDS = sizeof(fact_fields) / sizeof(fact_fields[0]) };

bool ld_facts_put(hid_t file, const struct ld_shard_facts *facts)
{
    bool ok = ld_h5_put_texts(file, "class_names", facts->class_names,
                              (size_t)facts->n_classes) &&
              ld_h5_put_text(file, "storage", ld_codec_name(facts->storage)) &&
              ld_h5_put_text(file, "select", ld_select_name(facts->select));

    for (size_t f = 0; ok && f < N_FACT_FIELDS; f++) {
        const struct ld_field *field = &fact_fields[f];
        const void *value = (const unsigned char *)facts + field->offset;

        if (field->letter == 's')
            ok = ld_h5_put_text(file, field->name, *(char *const *)value);
        else
            ok = ld_h5_put(file, field->name, ld_field_type(field->letter),
                           value, field->count);
    }
    return ok;
}

static bool get_storage(hid_t file, enum ld_storage *out,
                        struct ld_arena *arena, struct ld_err *err)
{
    const char *name;

    if (!ld_h5_get_text(file, "storage", &name, arena, err))
        return false;
    for (enum ld_storage s = LD_STORAGE_FP32; s <= LD_STORAGE_PREDICTED; s++)
        if (strcmp(name, ld_codec_name(s)) == 0) {
            *out = s;
            return true;
        }
    return false;
}

static bool get_select(hid_t file, enum ld_select *out, struct ld_arena *arena,
                       struct ld_err *err)
{
    const char *name;

    if (!ld_h5_get_text(file, "select", &name, arena, err))
        return false;
    for (enum ld_select s = LD_SELECT_LD; s <= LD_SELECT_DENSE; s++)
        if (strcmp(name, ld_select_name(s)) == 0) {
            *out = s;
            return true;
        }
    return false;
}

static bool get_fact(hid_t file, const struct ld_field *field, void *value,
                     struct ld_arena *arena, struct ld_err *err)
{
    if (field->letter == 's')
        return ld_h5_get_text(file, field->name, value, arena, err);
    if (!ld_h5_get(file, field->name, ld_field_type(field->letter), value,
                   field->count))
        return false;
    /* A bool holds 0 or 1. */
    return field->letter != 'B' || *(unsigned char *)value <= 1;
}

bool ld_facts_get(hid_t file, struct ld_shard_facts *out, const char **missing,
                  struct ld_arena *arena, struct ld_err *err)
{
    *missing = "class_names";
    if (!ld_h5_get_texts(file, *missing, &out->class_names, &out->n_classes,
                         arena, err))
        return false;
    *missing = "storage";
    if (!get_storage(file, &out->storage, arena, err))
        return false;
    *missing = "select";
    if (!get_select(file, &out->select, arena, err))
        return false;
    for (size_t f = 0; f < N_FACT_FIELDS; f++) {
        *missing = fact_fields[f].name;
        if (!get_fact(file, &fact_fields[f],
                      (unsigned char *)out + fact_fields[f].offset, arena, err))
            return false;
    }
    return true;
}

static const char *copy_text(const char *text, struct ld_arena *arena,
                             struct ld_err *err)
{
    return ld_arena_text(arena, text ? text : "", text ? strlen(text) : 0, err);
}

bool ld_facts_copy(struct ld_shard_facts *out,
                   const struct ld_shard_facts *facts, struct ld_arena *arena,
                   struct ld_err *err)
{
    size_t K = (size_t)facts->n_classes;
    bool ok;

    *out = *facts;
    out->class_names = ld_arena_new(arena, K, sizeof(char *), err);
    ok = out->class_names != NULL;
    for (size_t k = 0; ok && k < K; k++) {
        out->class_names[k] = copy_text(facts->class_names[k], arena, err);
        ok = out->class_names[k] != NULL;
    }
    for (size_t f = 0; ok && f < N_FACT_FIELDS; f++) {
        const char **text =
            (void *)((unsigned char *)out + fact_fields[f].offset);

        if (fact_fields[f].letter != 's')
            continue;
        *text = copy_text(*text, arena, err);
        ok = *text != NULL;
    }
    return ok;
}

int ld_shard_runs(const struct ld_shard_facts *facts)
{
    return facts->n_anchors == LD_RETINA_ANCHORS ? 1 : 4;
}

struct ld_grid ld_shard_grid(const struct ld_shard_facts *facts,
                             const struct ld_view *view)
{
    enum ld_head head = facts->n_anchors == LD_RETINA_ANCHORS  ? LD_HEAD_RETINA
                        : strcmp(facts->assigner, "FCOS") == 0 ? LD_HEAD_FCOS
                                                               : LD_HEAD_GFL;

    return ld_grid_with_head(ld_grid_of_canvas(view->canvas_H, view->canvas_W),
                             head);
}

/* ---- what a run compares ---- */

static bool is_in(const char *name, const char *const *names)
{
    for (; *names; names++)
        if (strcmp(name, *names) == 0)
            return true;
    return false;
}

/* A run that reads some rows of a dense cache finds there those of any regions.
 * FCOS tells boxes from other centres. */
static bool any_region(const struct ld_shard_facts *facts,
                       const struct ld_shard_facts *wanted)
{
    return facts->select == LD_SELECT_DENSE &&
           wanted->select != LD_SELECT_DENSE &&
           (strcmp(facts->assigner, "FCOS") == 0) ==
               (strcmp(wanted->assigner, "FCOS") == 0);
}

/* Not compared is what says how a cache was made, not what it holds; that it
 * has mirrored views or features that the run never asks for; and n_logits, the
 * teacher's, of which any student uses what it has. */
static bool is_compared(const char *name, const struct ld_shard_facts *facts,
                        const struct ld_shard_facts *wanted)
{
    static const char *const others[] = {"program", "part", "n_parts",
                                         "n_logits", NULL};
    static const char *const regions[] = {"assigner", "vlr_mode", "vlr_gamma",
                                          "vlr_exclude_main", NULL};

    if (strcmp(name, "view_flip") == 0)
        return wanted->seeded_views > 0 || wanted->view_flip;
    if (strcmp(name, "feature_channels") == 0)
        return wanted->imitation != NULL;
    if (is_in(name, others) ||
        (is_in(name, regions) && any_region(facts, wanted)))
        return false;
    return strstr(name, "_error") == NULL && strstr(name, "_entropy") == NULL;
}

static void print_number(char out[32], char letter, const unsigned char *at)
{
    int32_t integer;
    float number;

    if (letter == 'B') {
        snprintf(out, 32, "%s", *at ? "true" : "false");
    } else if (letter == 'f') {
        memcpy(&number, at, sizeof(number));
        snprintf(out, 32, "%.9g", (double)number);
    } else {
        memcpy(&integer, at, sizeof(integer));
        snprintf(out, 32, "%" PRId32, integer);
    }
}

static bool differ(struct ld_err *err, const char *where, const char *field,
                   const char *has, const char *wanted)
{
    return ld_fail(err, LD_ERR_MISMATCH, "%s: its %s is %s, expected %s", where,
                   field, has, wanted);
}

static bool numbers_match(const struct ld_field *field,
                          const unsigned char *has, const unsigned char *wanted,
                          const char *where, struct ld_err *err)
{
    size_t size = field->letter == 'B' ? 1 : 4;
    char a[32], b[32], name[64];

    for (size_t i = 0; i < field->count; i++) {
        print_number(a, field->letter, has + i * size);
        print_number(b, field->letter, wanted + i * size);
        snprintf(name, sizeof(name), field->count > 1 ? "%s[%zu]" : "%s",
                 field->name, i);
        if (strcmp(a, b) != 0)
            return differ(err, where, name, a, b);
    }
    return true;
}

static bool classes_match(const struct ld_shard_facts *facts,
                          const struct ld_shard_facts *wanted,
                          const char *where, struct ld_err *err)
{
    int both = facts->n_classes < wanted->n_classes ? facts->n_classes
                                                    : wanted->n_classes;
    char name[64];

    for (int k = 0; k < both; k++) {
        snprintf(name, sizeof(name), "class %d of %d", k, facts->n_classes);
        if (strcmp(facts->class_names[k], wanted->class_names[k]) != 0)
            return differ(err, where, name, facts->class_names[k],
                          wanted->class_names[k]);
    }
    if (facts->n_classes != wanted->n_classes)
        return ld_fail(err, LD_ERR_MISMATCH,
                       "%s: its number of classes is %d, expected %d", where,
                       facts->n_classes, wanted->n_classes);
    return true;
}

bool ld_shard_facts_match(const struct ld_shard_facts *facts,
                          const struct ld_shard_facts *wanted,
                          const char *where, struct ld_err *err)
{
    for (size_t f = 0; f < N_FACT_FIELDS; f++) {
        const struct ld_field *field = &fact_fields[f];
        const unsigned char *a = (const unsigned char *)facts + field->offset;
        const unsigned char *b = (const unsigned char *)wanted + field->offset;

        if (!is_compared(field->name, facts, wanted))
            continue;
        if (field->letter == 's') {
            const char *has = *(char *const *)a, *want = *(char *const *)b;

            if (want && strcmp(has, want) != 0)
                return differ(err, where, field->name, has, want);
        } else if (!numbers_match(field, a, b, where, err)) {
            return false;
        }
    }
    if (facts->select < wanted->select)
        return differ(err, where, "select", ld_select_name(facts->select),
                      ld_select_name(wanted->select));
    return classes_match(facts, wanted, where, err);
}
