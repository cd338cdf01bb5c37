#include "tests/made_checkpoint.h"

#include <check.h>
#include <string.h>

void checkpoint_make(struct made_checkpoint *m, float shift)
{
    static const struct ld_tensor shapes[N_TENSORS] = {
        {.name = "backbone.conv1.weight", .n_dims = 4, .dim = {4, 3, 3, 3}},
        {.name = "backbone.layer1.0.bn1.running_mean", .n_dims = 1, .dim = {7}},
        {.name = "head.cube", .n_dims = 3, .dim = {2, 3, 4}},
        {.name = "head.fc.weight", .n_dims = 2, .dim = {5, 6}},
        {.name = "head.scales.0.scale"},
    };
    float *at = m->values;

    for (int i = 0; i < 400; i++)
        m->values[i] = shift + 0.37f * (float)i - 3e-7f * (float)(i * i);
    for (int i = 0; i < N_TENSORS + N_MOMENTUM; i++) {
        struct ld_tensor *t =
            i < N_TENSORS ? &m->tensors[i] : &m->momentum[i - N_TENSORS];

        *t = shapes[i < N_TENSORS ? i : 3 * (i - N_TENSORS)];
        t->data = at;
        at += ld_tensor_count(t);
    }
    m->classes[0] = "person";
    m->classes[1] = "traffic light";
    m->classes[2] = "Verkehrsschild \"groß\"";
    m->c = (struct ld_checkpoint){.epoch = 3,
                                  .step = 1234567890123,
                                  .step_of_epoch = 42,
                                  .n_ranks = 3,
                                  .config = "train:\n  lr: 0.01\n",
                                  .class_names = m->classes,
                                  .n_classes = 3,
                                  .tensors = m->tensors,
                                  .momentum = m->momentum,
                                  .n_tensors = N_TENSORS,
                                  .n_momentum = N_MOMENTUM};
}

static bool same_tensors(const struct ld_tensor *a, const struct ld_tensor *b,
                         int n)
{
    for (int i = 0; i < n; i++)
        if (strcmp(a[i].name, b[i].name) != 0 || a[i].n_dims != b[i].n_dims ||
            memcmp(a[i].dim, b[i].dim, sizeof(a[i].dim)) != 0 ||
            memcmp(a[i].data, b[i].data,
                   ld_tensor_count(&a[i]) * sizeof(float)) != 0)
            return false;
    return true;
}

static bool checkpoint_same(const struct ld_checkpoint *a,
                            const struct ld_checkpoint *b)
{
    if (a->epoch != b->epoch || a->step != b->step ||
        a->step_of_epoch != b->step_of_epoch || a->n_ranks != b->n_ranks ||
        a->n_classes != b->n_classes || a->n_tensors != b->n_tensors ||
        a->n_momentum != b->n_momentum || strcmp(a->config, b->config) != 0)
        return false;
    for (int i = 0; i < a->n_classes; i++)
        if (strcmp(a->class_names[i], b->class_names[i]) != 0)
            return false;
    return same_tensors(a->tensors, b->tensors, a->n_tensors) &&
           same_tensors(a->momentum, b->momentum, a->n_momentum);
}

void checkpoint_save_ok(const char *path, const struct ld_checkpoint *c)
{
    struct ld_err err = {0};

    ck_assert_msg(ld_checkpoint_save(path, c, &err), "%s", err.text);
}

bool checkpoint_is(const char *path, const struct ld_checkpoint *want,
                   bool *equal, struct ld_err *err)
{
    struct ld_arena arena = {0};
    struct ld_checkpoint got;
    bool ok = ld_checkpoint_load(path, &got, &arena, err);

    *equal = ok && checkpoint_same(&got, want);
    ck_assert(ok == (err->code == LD_OK));
    ld_arena_free(&arena);
    return ok;
}
