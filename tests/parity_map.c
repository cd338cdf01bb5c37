#include <math.h>

#include "tests/parity.h"
#include "tests/suite.h"

enum { CASES = 12 };

static struct ld_shape any_shape(struct parity *p)
{
    static const int channels[] = {1, 3, 8, 20, 64, 68};

    return (struct ld_shape){1 + parity_below(p, 3),
                             channels[parity_below(p, 6)],
                             1 + parity_below(p, 13), 1 + parity_below(p, 13)};
}

static void check_packing(struct parity *p)
{
    struct ld_shape shape;
    struct twin map;

    shape = any_shape(p);
    map = parity_map(p, parity_normal(p, parity_count(shape)), shape);
    ck_assert_mem_eq(parity_read_map(p, PARITY_CUDA, map, shape),
                     parity_read_map(p, PARITY_CPU, map, shape),
                     parity_count(shape) * sizeof(float));
}

START_TEST(what_is_packed_unpacks_to_the_same_bits)
{
    parity_cases(parity_precisions[_i], CASES, check_packing);
}
END_TEST

static void check_adding(struct parity *p)
{
    struct ld_shape shape;
    struct twin sum, clamped, masked, x;
    float *plain;

    shape = any_shape(p);
    plain = parity_normal(p, parity_count(shape));
    plain[0] = NAN;
    sum = parity_map(p, plain, shape);
    clamped = parity_map(p, plain, shape);
    masked = parity_map(p, plain, shape);
    x = parity_map(p, parity_normal(p, parity_count(shape)), shape);
    for (int i = 0; i < PARITY_DEVICES; i++) {
        const struct ld_ops *ops = p->dev[i]->ops;

        ops->add(p->dev[i], sum.at[i], x.at[i], shape);
        ops->add_relu(p->dev[i], clamped.at[i], x.at[i], shape);
        ops->relu_backward(p->dev[i], masked.at[i], x.at[i], shape);
    }
    parity_same_map(p, "add", sum, shape, 0); /* one operation: exact */
    parity_same_map(p, "add_relu", clamped, shape, 0);
    parity_same_map(p, "relu_backward", masked, shape, 0);
}

START_TEST(adding_and_masking_agree)
{
    parity_cases(parity_precisions[_i], CASES, check_adding);
}
END_TEST

/* ---- maps that meet ---- */

static void check_channels(struct parity *p)
{
    struct ld_channels m;
    struct twin from, sum, part, made;

    m.to = any_shape(p);
    m.from = m.to;
    m.from.C = 1 + parity_below(p, 40);
    m.C = 1 + parity_below(p, m.from.C < m.to.C ? m.from.C : m.to.C);
    m.from_at = parity_below(p, m.from.C - m.C + 1);
    m.to_at = p->number % 3 ? parity_below(p, m.to.C - m.C + 1) : m.to.C - m.C;
    from = parity_map(p, parity_normal(p, parity_count(m.from)), m.from);
    sum = parity_map(p, parity_normal(p, parity_count(m.to)), m.to);
    part = parity_map(p, parity_normal(p, parity_count(m.to)), m.to);
    made = parity_map(p, NULL, m.to);
    for (int i = 0; i < PARITY_DEVICES; i++) {
        const struct ld_ops *ops = p->dev[i]->ops;
        struct ld_channels before = {m.to, m.to, 0, 0, m.to_at};
        struct ld_channels after = {m.to, m.to, m.to_at, m.to_at,
                                    m.to.C - m.to_at};

        ops->channels_add(p->dev[i], sum.at[i], from.at[i], &m);
        ops->channels_copy(p->dev[i], part.at[i], from.at[i], &m);
        /* a map made of parts, padding too; the last part first */
        ops->channels_copy(p->dev[i], made.at[i], part.at[i], &after);
        if (before.C > 0)
            ops->channels_copy(p->dev[i], made.at[i], part.at[i], &before);
    }
    parity_same_map(p, "channels_add", sum, m.to, 0);
    parity_same_map(p, "channels_copy", part, m.to, 0);
    parity_same_map(p, "channels_copy of parts", made, m.to, 0);
}

START_TEST(channels_that_are_copied_and_added_agree)
{
    parity_cases(parity_precisions[_i], CASES, check_channels);
}
END_TEST

static void check_upsampling(struct parity *p)
{
    struct ld_shape in, out;
    struct twin x, y, dx, dy;

    in = out = any_shape(p);
    out.H = in.H * (p->number % 3) + 1 + parity_below(p, 4);
    out.W = in.W * 2 + parity_below(p, 3) - 1;
    x = parity_map(p, parity_normal(p, parity_count(in)), in);
    dx = parity_map(p, parity_normal(p, parity_count(in)), in);
    y = parity_map(p, parity_normal(p, parity_count(out)), out);
    dy = parity_map(p, parity_normal(p, parity_count(out)), out);
    for (int i = 0; i < PARITY_DEVICES; i++) {
        const struct ld_ops *ops = p->dev[i]->ops;

        ops->upsample_add(p->dev[i], y.at[i], x.at[i], in, out.H, out.W);
        ops->upsample_add_backward(p->dev[i], dx.at[i], dy.at[i], in, out.H,
                                   out.W);
    }
    parity_same_map(p, "upsample_add", y, out, 0);
    /* sums of a few, in fp32 */
    parity_same_map(p, "upsample_add_backward", dx, in, 1e-6);
}

START_TEST(upsampling_and_its_gradient_agree)
{
    parity_cases(parity_precisions[_i], CASES, check_upsampling);
}
END_TEST

/* ---- rows ---- */

static void check_rows(struct parity *p)
{
    struct ld_rows r = {.start = 5};
    struct twin map, dmap, rows, drows, scale, dscale;
    size_t n;

    r.shape = any_shape(p);
    r.A = r.shape.H * r.shape.W + 9;
    n = (size_t)r.shape.N * (size_t)r.A * (size_t)r.shape.C;
    map = parity_map(p, parity_normal(p, parity_count(r.shape)), r.shape);
    dmap = parity_map(p, NULL, r.shape);
    rows = parity_floats(p, parity_normal(p, n), n); /* others stay */
    drows = parity_floats(p, parity_normal(p, n), n);
    scale = parity_floats(p, parity_normal(p, 1), 1);
    dscale = parity_floats(p, parity_normal(p, 1), 1);
    for (int i = 0; i < PARITY_DEVICES; i++) {
        const struct ld_ops *ops = p->dev[i]->ops;

        r.scale = p->number % 3 ? scale.at[i] : NULL;
        r.dscale = p->number % 4 ? dscale.at[i] : NULL;
        ops->rows_forward(p->dev[i], rows.at[i], map.at[i], &r);
        ops->rows_backward(p->dev[i], dmap.at[i], drows.at[i], map.at[i], &r);
    }
    parity_same(p, "rows_forward", rows, n, 1e-7);
    parity_same_map(p, "rows_backward", dmap, r.shape, 1e-7);
    /* A sum of up to 3 * 68 * 169 products of either sign, in fp32 by eights:
     * its error is 1e-7 of their root sum of squares, 190, at most. */
    parity_same(p, "dscale", dscale, 1, 2e-5);
}

START_TEST(rows_and_their_gradients_agree)
{
    parity_cases(parity_precisions[_i], CASES, check_rows);
}
END_TEST

static void check_gathering(struct parity *p)
{
    enum { N = 37, WIDTH = 19 };
    struct ld_shape shape;
    struct twin rows, map, index, place, picked, channels;
    int32_t some[N], places[N];
    size_t n;

    shape = any_shape(p);
    for (int i = 0; i < N; i++) {
        some[i] = parity_below(p, 11);
        places[i] = parity_below(p, shape.N * shape.H * shape.W);
    }
    n = (size_t)N * (size_t)shape.C;
    rows = parity_floats(p, parity_normal(p, 11 * WIDTH), 11 * WIDTH);
    map = parity_map(p, parity_normal(p, parity_count(shape)), shape);
    index = parity_bytes(p, some, sizeof(some));
    place = parity_bytes(p, places, sizeof(places));
    picked = parity_floats(p, NULL, N * WIDTH);
    channels = parity_floats(p, NULL, n);
    for (int i = 0; i < PARITY_DEVICES; i++) {
        const struct ld_ops *ops = p->dev[i]->ops;

        ops->rows_gather(p->dev[i], picked.at[i], rows.at[i], index.at[i], N,
                         WIDTH);
        ops->rows_gather(p->dev[i], NULL, rows.at[i], index.at[i], 0, WIDTH);
        ops->map_gather(p->dev[i], channels.at[i], map.at[i], shape,
                        place.at[i], N);
    }
    parity_same(p, "rows_gather", picked, N * WIDTH, 0);
    parity_same(p, "map_gather", channels, n, 0);
}

START_TEST(rows_and_places_that_are_gathered_agree)
{
    parity_cases(parity_precisions[_i], CASES, check_gathering);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("parity of maps");
    TCase *c = tcase_create("maps");

    tcase_add_loop_test(c, what_is_packed_unpacks_to_the_same_bits, 0, 2);
    tcase_add_loop_test(c, adding_and_masking_agree, 0, 2);
    tcase_add_loop_test(c, channels_that_are_copied_and_added_agree, 0, 2);
    tcase_add_loop_test(c, upsampling_and_its_gradient_agree, 0, 2);
    tcase_add_loop_test(c, rows_and_their_gradients_agree, 0, 2);
    tcase_add_loop_test(c, rows_and_places_that_are_gathered_agree, 0, 2);
    suite_add_tcase(s, c);
    return s;
}
