#include <string.h>

#include "kernels/net/net_parts.h"
#include "tests/devices.h"
#include "tests/lesson.h"
#include "tests/parity.h"
#include "tests/suite.h"

/* Calls of the table on tape, on the device that has tapes. */

enum { N = 1000 };

static void add(struct ld_device *dev, struct twin y, struct twin x)
{
    const struct ld_shape shape = {1, N, 1, 1};

    dev->ops->add(dev, y.at[PARITY_CUDA], x.at[PARITY_CUDA], shape);
}

static void is_first_plus(struct parity *p, struct twin y, const float *first,
                          const float *added, float times)
{
    const struct ld_shape shape = {1, N, 1, 1};
    const float *got = parity_read_map(p, PARITY_CUDA, y, shape);

    for (int i = 0; i < N; i++)
        ck_assert_float_eq(got[i], first[i] + times * added[i]);
}

START_TEST(a_tape_does_nothing_until_it_is_played)
{
    const struct ld_shape shape = {1, N, 1, 1};
    struct ld_device *dev;
    struct ld_tape *tape;
    struct parity p;
    struct twin x, y;
    float *ones, *counts;

    if (!parity_open(&p, LD_PRECISION_FP32, 1))
        return;
    dev = p.dev[PARITY_CUDA];
    ones = parity_host(&p, N, sizeof(*ones));
    counts = parity_host(&p, N, sizeof(*counts));
    for (int i = 0; i < N; i++) {
        ones[i] = 1;
        counts[i] = (float)i;
    }
    x = parity_map(&p, ones, shape);
    y = parity_map(&p, counts, shape);

    ck_assert(p.dev[PARITY_CPU]->ops->record == NULL);
    ck_assert(dev->ops->record(dev));
    add(dev, y, x);
    add(dev, y, x);
    tape = dev->ops->recorded(dev);
    ck_assert(tape != NULL);
    is_first_plus(&p, y, counts, ones, 0);
    dev->ops->play(dev, tape);
    is_first_plus(&p, y, counts, ones, 2);
    dev->ops->play(dev, tape);
    dev->ops->play(dev, tape);
    is_first_plus(&p, y, counts, ones, 6);
    dev->ops->tape_free(dev, tape);
    parity_close(&p);
}
END_TEST

START_TEST(what_can_not_be_taped_is_not_done_and_no_fault)
{
    const struct ld_shape shape = {1, N, 1, 1};
    struct ld_err err = {0};
    struct ld_device *dev;
    struct parity p;
    struct twin x, y;
    float *ones;

    if (!parity_open(&p, LD_PRECISION_FP32, 1))
        return;
    dev = p.dev[PARITY_CUDA];
    ones = parity_host(&p, N, sizeof(*ones));
    for (int i = 0; i < N; i++)
        ones[i] = 1;
    x = parity_map(&p, ones, shape);
    y = parity_map(&p, ones, shape);
    ck_assert(dev->ops->record(dev));
    add(dev, y, x);
    (void)dev->ops->sync(dev, &err); /* waits: a tape can't */
    add(dev, y, x);
    ck_assert(dev->ops->recorded(dev) == NULL);
    err = (struct ld_err){0};
    ck_assert_msg(dev->ops->sync(dev, &err), "%s", err.text);
    is_first_plus(&p, y, ones, ones, 0);
    add(dev, y, x);
    is_first_plus(&p, y, ones, ones, 1);
    parity_close(&p);
}
END_TEST

/* ---- a net's passes ---- */

/* The gradients of all parameters after a step's passes. */
static float *gradients(struct lesson *l, struct ld_step *step,
                        struct ld_loss_terms *terms, int64_t number)
{
    struct ld_net *net = l->student;
    size_t bytes = net->n_trained * sizeof(float);
    float *out = ld_arena_new(&l->arena, bytes, 1, &l->err);

    ck_assert_msg(ld_step_gradient(step, &l->batch, number, terms, &l->err),
                  "%s", l->err.text);
    l->dev->ops->download(l->dev, out, net->grads, bytes);
    ck_assert_msg(l->dev->ops->sync(l->dev, &l->err), "%s", l->err.text);
    return out;
}

/* Nothing moves: the filters are stale for the first step alone. */
START_TEST(passes_on_tape_give_the_bits_of_the_first)
{
    enum ld_precision precision = _i ? LD_PRECISION_BF16 : LD_PRECISION_FP32;
    struct ld_err err = {0};
    const char *name = device_asked_for("emulated");
    struct ld_device *dev = device_open(name, 0, precision, &err);
    struct ld_loss_terms *terms;
    struct ld_step *step;
    struct lesson l;
    float *first;

    if (!dev && strcmp(name, "cuda") == 0) {
        note_skipped(err.text);
        return;
    }
    ck_assert_msg(dev != NULL, "%s", err.text);
    lesson_open_on(&l, dev, &lesson_model, &lesson_model);
    step = ld_step_new(dev, l.student, l.teacher, &l.rules, &l.err);
    terms = dev->ops->alloc(dev, sizeof(*terms), &l.err);
    ck_assert_msg(step && terms, "%s", l.err.text);

    first = gradients(&l, step, terms, 1);
    for (int i = 2; i < 6; i++)
        ck_assert_mem_eq(gradients(&l, step, terms, i), first,
                         l.student->n_trained * sizeof(float));
    ck_assert(l.student->plan->forward.tape != NULL);
    ck_assert(l.student->plan->backward.tape != NULL);

    /* Other filters are stale now: not what stands on the tape. */
    ld_net_changed(l.student);
    ck_assert_mem_eq(gradients(&l, step, terms, 6), first,
                     l.student->n_trained * sizeof(float));
    ck_assert(l.student->plan->forward.tape == NULL);

    dev->ops->release(dev, terms);
    ld_step_free(step);
    lesson_close(&l);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("tapes");
    TCase *c = tcase_create("tapes");

    tcase_add_test(c, a_tape_does_nothing_until_it_is_played);
    tcase_add_test(c, what_can_not_be_taped_is_not_done_and_no_fault);
    tcase_add_loop_test(c, passes_on_tape_give_the_bits_of_the_first, 0, 2);
    suite_add_tcase(s, c);
    return s;
}
