#include "tests/loss_device.h"

#include <string.h>

#include "tests/devices.h"
#include "tests/suite.h"

enum { MOST_ARRAYS = 32 };

/* Arrays of one batch on a device. */
struct there {
    struct ld_device *dev;
    void *array[MOST_ARRAYS];
    int n;
};

static void *sent(struct there *t, const void *host, size_t bytes)
{
    struct ld_err err = {0};
    void *memory;

    if (!host)
        return NULL;
    memory = t->dev->ops->alloc(t->dev, bytes, &err);
    ck_assert_msg(memory != NULL, "%s", err.text);
    ck_assert_int_lt(t->n, MOST_ARRAYS);
    t->dev->ops->upload(t->dev, memory, host, bytes);
    t->array[t->n++] = memory;
    return memory;
}

static void *junk(struct there *t, void *host, size_t bytes)
{
    memset(host, 0xff, bytes); /* NaNs */
    return sent(t, host, bytes);
}

static struct ld_loss_batch sent_batch(struct there *t,
                                       const struct ld_loss_batch *from)
{
    struct ld_loss_batch b = *from;
    size_t places = (size_t)b.N * (size_t)b.A, n = (size_t)b.n_rows;
    size_t K = (size_t)b.K, sides = 4 * (size_t)b.B;
    size_t common = (size_t)b.teacher_K;

    b.class_logits = sent(t, b.class_logits, places * K * sizeof(float));
    b.box_logits = sent(t, b.box_logits, places * sides * sizeof(float));
    b.quality = sent(t, b.quality, places * sizeof(float));
    b.valid = sent(t, b.valid, places);
    b.index = sent(t, b.index, n * sizeof(*b.index));
    b.label = sent(t, b.label, n * sizeof(*b.label));
    b.box = sent(t, b.box, n * sizeof(*b.box));
    b.vlr = sent(t, b.vlr, n * sizeof(*b.vlr));
    b.teacher_box = sent(t, b.teacher_box, n * sides * sizeof(float));
    b.teacher_class = sent(t, b.teacher_class, n * common * sizeof(float));
    b.teacher_box_kept =
        sent(t, b.teacher_box_kept,
             n * (sides - (b.head == LD_HEAD_RETINA ? 1 : 4)) * 2);
    b.teacher_class_kept = sent(t, b.teacher_class_kept, n * common * 2);
    b.teacher_box_step = sent(t, b.teacher_box_step, n * sizeof(float));
    b.teacher_class_step = sent(t, b.teacher_class_step, n * sizeof(float));
    b.sums = sent(t, b.sums, LD_N_SUMS * sizeof(*b.sums));
    return b;
}

void loss_batch_run_on(struct loss_batch *t, struct ld_device *dev,
                       const struct ld_loss_rules *rules)
{
    struct there there = {.dev = dev};
    const struct ld_ops *ops = dev->ops;
    struct ld_loss_batch b = sent_batch(&there, &t->b);
    size_t places = (size_t)b.N * (size_t)b.A * sizeof(float);
    size_t K = (size_t)b.K, sides = 4 * (size_t)b.B;
    size_t rows = (size_t)b.n_rows * sizeof(float);
    float *weight = junk(&there, t->weight, rows);
    float *dz = junk(&there, t->dz, places * K);
    float *dr = junk(&there, t->dr, places * sides);
    float *du = b.quality ? junk(&there, t->du, places) : NULL;
    struct ld_loss_terms *terms = junk(&there, &t->terms, sizeof(*terms));
    struct ld_err err = {0};

    ops->loss_weights(dev, weight, &b);
    ops->loss_run(dev, terms, dz, dr, du, weight, &b, rules);
    ops->download(dev, t->weight, weight, rows);
    ops->download(dev, t->sums, b.sums, sizeof(t->sums));
    ops->download(dev, &t->terms, terms, sizeof(*terms));
    ops->download(dev, t->dz, dz, places * K);
    ops->download(dev, t->dr, dr, places * sides);
    if (du)
        ops->download(dev, t->du, du, places);
    ck_assert_msg(ops->sync(dev, &err), "%s", err.text);
    for (int i = 0; i < there.n; i++)
        ops->release(dev, there.array[i]);
}

void loss_batch_run_there(struct loss_batch *t,
                          const struct ld_loss_rules *rules)
{
    struct ld_err err = {0};
    struct ld_device *dev =
        device_open(device_asked_for("cpu"), 0, LD_PRECISION_FP32, &err);

    ck_assert_msg(dev != NULL, "%s", err.text);
    loss_batch_run_on(t, dev, rules);
    dev->ops->close(dev);
}
