#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kernels/base/parallel.h"
#include "tests/layer.h"
#include "tests/suite.h"

static double pool_value(const struct layer *l, const double *map, int h, int w)
{
    double best = -INFINITY;

    for (int k = 0; k < 9; k++) {
        int row = 2 * h - 1 + k / 3, column = 2 * w - 1 + k % 3;

        if (row >= 0 && row < l->in.H && column >= 0 && column < l->in.W)
            best = fmax(best, map[row * l->in.W + column]);
    }
    return best;
}

static void pool_forward(const struct layer *l, double *y)
{
    for (int plane = 0; plane < l->in.N * l->in.C; plane++)
        for (int h = 0; h < l->out.H; h++)
            for (int w = 0; w < l->out.W; w++)
                *y++ = pool_value(l, l->x + plane * l->in.H * l->in.W, h, w);
}

static void upsample_forward(const struct layer *l, double *y)
{
    for (int plane = 0; plane < l->in.N * l->in.C; plane++)
        for (int h = 0; h < l->out.H; h++)
            for (int w = 0; w < l->out.W; w++) {
                int row = h * l->in.H / l->out.H;
                int column = w * l->in.W / l->out.W;

                *y++ = l->x[(plane * l->in.H + row) * l->in.W + column];
            }
}

/* ---- maps ---- */

static const struct ld_shape shapes[] = {{2, 20, 13, 11}, {1, 64, 8, 8},
                                         {1, 3, 1, 5},    {2, 68, 5, 1},
                                         {1, 16, 1, 1},   {1, 256, 3, 4}};
enum { N_SHAPES = sizeof(shapes) / sizeof(shapes[0]) };

START_TEST(what_is_packed_unpacks_to_the_same_bits)
{
    for (int i = 0; i < N_SHAPES; i++) {
        size_t count = shape_count(shapes[i]);
        struct maps m;
        const float *x;

        maps_open(&m, 0, 200);
        x = maps_normal(&m, count);
        ck_assert_mem_eq(maps_plain(&m, maps_map(&m, x, shapes[i]), shapes[i]),
                         x, count * sizeof(float));
        maps_close(&m);
    }
}
END_TEST

static void check_elementwise(struct maps *m, struct ld_shape shape)
{
    const struct ld_ops *ops = m->dev->ops;
    size_t count = shape_count(shape);
    const float *a = maps_normal(m, count), *b = maps_normal(m, count);
    float *sum = maps_map(m, a, shape), *clamped = maps_map(m, a, shape);
    float *masked = maps_map(m, a, shape), *x = maps_map(m, b, shape);
    const float *plain[3];

    ops->add(m->dev, sum, x, shape);
    ops->add_relu(m->dev, clamped, x, shape);
    ops->relu_backward(m->dev, masked, x, shape);
    plain[0] = maps_plain(m, sum, shape);
    plain[1] = maps_plain(m, clamped, shape);
    plain[2] = maps_plain(m, masked, shape);
    for (size_t i = 0; i < count; i++) {
        ck_assert(plain[0][i] == a[i] + b[i]);
        ck_assert(plain[1][i] == fmaxf(a[i] + b[i], 0));
        ck_assert(plain[2][i] == (b[i] > 0 ? a[i] : 0));
    }
}

START_TEST(adding_and_masking_agree_with_plain_loops)
{
    for (int i = 0; i < N_SHAPES; i++) {
        struct maps m;

        maps_open(&m, 0, 300 + (uint64_t)i);
        check_elementwise(&m, shapes[i]);
        maps_close(&m);
    }
}
END_TEST

START_TEST(a_nan_is_never_clamped_away)
{
    struct ld_shape shape = {1, 16, 3, 3}, half = {1, 16, 2, 2};
    struct maps m;
    float *plain, *x, *y, *pooled;

    maps_open(&m, 0, 350);
    plain = maps_normal(&m, shape_count(shape));
    plain[4] = NAN;
    x = maps_map(&m, plain, shape);
    y = maps_map(&m, maps_normal(&m, shape_count(shape)), shape);
    m.dev->ops->add_relu(m.dev, y, x, shape);
    ck_assert(isnan(maps_plain(&m, y, shape)[4]));
    pooled = maps_map(&m, NULL, half);
    m.dev->ops->maxpool_forward(m.dev, pooled, NULL, x, shape);
    ck_assert(isnan(maps_plain(&m, pooled, half)[0]));
    maps_close(&m);
}
END_TEST

static void check_pool(struct maps *m, struct ld_shape in)
{
    struct ld_shape out = {in.N, in.C, (in.H + 1) / 2, (in.W + 1) / 2};
    struct layer l = layer_of(m, in, out, pool_forward);
    float *x = layer_map(m, l.x, in), *dx = maps_map(m, NULL, in);
    float *y = maps_map(m, NULL, out), *dy = layer_map(m, l.dy, out);
    uint8_t *from = maps_memory(m, m->dev->ops->map_values(m->dev, out));

    m->dev->ops->maxpool_forward(m->dev, y, from, x, in);
    layer_check(m, &l, "max pool", y);
    m->dev->ops->maxpool_backward(m->dev, dx, dy, from, in);
    layer_check_gradient(m, &l, "dx", l.x, shape_count(in),
                         maps_plain(m, dx, in));
}

START_TEST(max_pool_and_its_gradient_agree_with_plain_loops)
{
    for (int i = 0; i < N_SHAPES; i++) {
        struct maps m;

        maps_open(&m, 0, 400 + (uint64_t)i);
        check_pool(&m, shapes[i]);
        maps_close(&m);
    }
}
END_TEST

START_TEST(of_equal_values_the_first_takes_the_gradient)
{
    struct ld_shape in = {1, 16, 4, 4}, out = {1, 16, 2, 2};
    static const float ones[64] = {1, 1, 1, 1};
    static const float want[16] = {1, 1, 0, 0, 1, 1};
    static const float flat[256];
    struct maps m;
    float *y, *dx;
    uint8_t *from;

    maps_open(&m, 0, 450);
    y = maps_map(&m, NULL, out);
    dx = maps_map(&m, NULL, in);
    from = maps_memory(&m, m.dev->ops->map_values(m.dev, out));
    m.dev->ops->maxpool_forward(m.dev, y, from, maps_map(&m, flat, in), in);
    m.dev->ops->maxpool_backward(m.dev, dx, maps_map(&m, ones, out), from, in);
    ck_assert_mem_eq(maps_plain(&m, dx, in), want, sizeof(want));
    maps_close(&m);
}
END_TEST

/* Both directions add to what is there: random numbers here. */
static void check_upsample(struct maps *m, struct ld_shape in, int H, int W)
{
    struct ld_shape out = {in.N, in.C, H, W};
    struct layer l = layer_of(m, in, out, upsample_forward);
    const float *y_was = maps_normal(m, shape_count(out));
    const float *dx_was = maps_normal(m, shape_count(in));
    float *y = maps_map(m, y_was, out), *dx = maps_map(m, dx_was, in);
    double *want = maps_doubles(m, shape_count(out));
    const float *got;
    float *gradient = maps_normal(m, shape_count(in));

    m->dev->ops->upsample_add(m->dev, y, layer_map(m, l.x, in), in, H, W);
    m->dev->ops->upsample_add_backward(m->dev, dx, layer_map(m, l.dy, out), in,
                                       H, W);
    l.forward(&l, want);
    got = maps_plain(m, y, out);
    for (size_t i = 0; i < shape_count(out); i++)
        ck_assert(got[i] == y_was[i] + (float)want[i]);
    got = maps_plain(m, dx, in);
    for (size_t i = 0; i < shape_count(in); i++)
        gradient[i] = got[i] - dx_was[i];
    layer_check_gradient(m, &l, "dx", l.x, shape_count(in), gradient);
}

START_TEST(upsampling_and_its_gradient_agree_with_plain_loops)
{
    static const int cases[][4] = {
        {2, 3, 5, 5}, {3, 4, 5, 7}, {3, 4, 6, 8}, {1, 1, 3, 2}, {5, 6, 5, 6}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const int *c = cases[i];
        struct maps m;

        maps_open(&m, 0, 500 + i);
        check_upsample(&m, (struct ld_shape){2, 20, c[0], c[1]}, c[2], c[3]);
        maps_close(&m);
    }
}
END_TEST

/* ---- rows ---- */

static void check_rows(struct maps *m, struct ld_rows *r)
{
    size_t count = shape_count(r->shape), C = (size_t)r->shape.C;
    size_t places = (size_t)r->shape.H * r->shape.W;
    size_t n_rows = (size_t)r->shape.N * r->A * C;
    const float *plain = maps_normal(m, count), *back;
    const float *drows = maps_normal(m, n_rows);
    float *map = maps_map(m, plain, r->shape),
          *rows = maps_memory(m, n_rows * 4);
    float *dmap = maps_map(m, NULL, r->shape);
    double product = 0, scale = (double)*r->scale;

    m->dev->ops->rows_forward(m->dev, rows, map, r);
    m->dev->ops->rows_backward(m->dev, dmap, maps_vector(m, drows, n_rows), map,
                               r);
    back = maps_plain(m, dmap, r->shape);
    for (size_t i = 0; i < count; i++) {
        size_t place = i % places, c = i / places % C, n = i / places / C;
        size_t at = ((n * r->A) + r->start + place) * C + c;

        ck_assert(rows[at] == (float)scale * plain[i]);
        ck_assert(back[i] == (float)scale * drows[at]);
        product += (double)drows[at] * (double)plain[i];
        rows[at] = 0;
    }
    for (size_t i = 0; i < n_rows; i++) /* nothing else was written */
        ck_assert(rows[i] == 0);
    ck_assert_double_eq_tol((double)*r->dscale, product,
                            1e-5 * sqrt((double)count));
}

START_TEST(rows_and_their_gradients_agree_with_plain_loops)
{
    static const int channels[] = {68, 80, 1, 16};

    for (int i = 0; i < 4; i++) {
        struct ld_rows r = {
            .shape = {2, channels[i], 5, 7}, .start = 11, .A = 60};
        struct maps m;

        maps_open(&m, 0, 600 + (uint64_t)i);
        r.scale = maps_vector(&m, maps_normal(&m, 1), 1);
        r.dscale = maps_memory(&m, 4);
        check_rows(&m, &r);
        maps_close(&m);
    }
}
END_TEST

START_TEST(rows_without_a_scale_are_copies)
{
    struct ld_rows r = {.shape = {1, 4, 1, 2}, .A = 2};
    static const float plain[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    static const float want[8] = {1, 3, 5, 7, 2, 4, 6, 8};
    struct maps m;
    float *rows;

    maps_open(&m, 0, 650);
    rows = maps_memory(&m, sizeof(want));
    m.dev->ops->rows_forward(m.dev, rows, maps_map(&m, plain, r.shape), &r);
    ck_assert_mem_eq(rows, want, sizeof(want));
    m.dev->ops->rows_backward(m.dev, maps_map(&m, NULL, r.shape), rows,
                              maps_map(&m, plain, r.shape), &r);
    maps_close(&m);
}
END_TEST

START_TEST(gathered_rows_are_those_of_the_index)
{
    static const int32_t index[] = {4, 0, 4, 2};
    struct maps m;
    const float *rows;
    float *out;

    maps_open(&m, 0, 700);
    rows = maps_normal(&m, 5 * 3);
    out = maps_memory(&m, 4 * 3 * sizeof(float));
    m.dev->ops->rows_gather(m.dev, out, rows, index, 4, 3);
    for (int i = 0; i < 4; i++)
        ck_assert_mem_eq(out + 3 * i, rows + 3 * index[i], 3 * sizeof(float));
    m.dev->ops->rows_gather(m.dev, out, rows, index, 0, 3);
    maps_close(&m);
}
END_TEST

/* ---- optimizer ---- */

START_TEST(sgd_steps_as_torch_does)
{
    float param[3] = {1, -2, 0.5F}, momentum[3] = {0.5F, 0, -1};
    const float grad[3] = {0.25F, 1, 2};
    struct ld_sgd s = {.rate = 0.5F, .momentum = 0.5F, .decay = 0.25F};
    struct maps m;

    maps_open(&m, 0, 800);
    m.dev->ops->sgd(m.dev, param, momentum, grad, 3, s);
    /* v = 0.5 v + (g + 0.25 p), p -= 0.5 v: exact in binary */
    ck_assert(momentum[0] == 0.75F && momentum[1] == 0.5F);
    ck_assert(momentum[2] == 1.625F && param[2] == -0.3125F);
    ck_assert(param[0] == 0.625F && param[1] == -2.25F);
    maps_close(&m);
}
END_TEST

START_TEST(a_step_that_is_not_finite_is_a_fault_reported_once)
{
    float param[3] = {1, 1, 1}, momentum[3] = {0};
    const float grad[3] = {0, INFINITY, 0};
    struct ld_err first = {0}, second = {0};
    struct maps m;

    maps_open(&m, 0, 850);
    m.dev->ops->sgd(m.dev, param, momentum, grad, 3,
                    (struct ld_sgd){1, 0, 0, 7});
    ck_assert(!m.dev->ops->sync(m.dev, &first));
    ck_assert_int_eq(first.code, LD_ERR_NUMBER);
    ck_assert(m.dev->ops->sync(m.dev, &second));
    maps_close(&m);
}
END_TEST

START_TEST(nothing_moves_while_the_device_holds_a_fault)
{
    float param[1] = {1}, momentum[1] = {0}, grad[1] = {1};
    struct ld_loss_terms terms = {0};
    struct ld_err err = {0};
    struct maps m;

    maps_open(&m, 1, 860);
    m.dev->ops->loss_check(m.dev, &terms, 4);
    ck_assert(m.dev->ops->sync(m.dev, &err));
    terms.value[LD_TERM_KD][2] = NAN;
    m.dev->ops->loss_check(m.dev, &terms, 5);
    m.dev->ops->sgd(m.dev, param, momentum, grad, 1,
                    (struct ld_sgd){1, 0, 0, 5});
    ck_assert(param[0] == 1 && momentum[0] == 0);
    ck_assert(!m.dev->ops->sync(m.dev, &err));
    ck_assert_ptr_nonnull(strstr(err.text, "step 5: loss_kd is not finite"));
    m.dev->ops->sgd(m.dev, param, momentum, grad, 1,
                    (struct ld_sgd){1, 0, 0, 6});
    ck_assert(param[0] == 0);
    maps_close(&m);
}
END_TEST

/* ---- threads ---- */

START_TEST(the_device_uses_the_cores_it_is_told_or_all_it_may_use)
{
    struct maps m;
    int all = (int)sysconf(_SC_NPROCESSORS_ONLN);

    maps_open(&m, 3, 0);
    ck_assert_int_eq(ld_parallel_threads(), 3);
    maps_close(&m);
    maps_open(&m, 0, 0);
    ck_assert_int_ge(ld_parallel_threads(), 1);
    ck_assert_int_le(ld_parallel_threads(), all);
    maps_close(&m);
}
END_TEST

/* ---- the reference ---- */

static void golden_pool(struct maps *m, struct golden *g, struct layer *l)
{
    float *x = layer_map(m, l->x, l->in), *y = maps_map(m, NULL, l->out);
    float *dx = maps_map(m, NULL, l->in), *dy = layer_map(m, l->dy, l->out);
    uint8_t *from = maps_memory(m, m->dev->ops->map_values(m->dev, l->out));

    m->dev->ops->maxpool_forward(m->dev, y, from, x, l->in);
    m->dev->ops->maxpool_backward(m->dev, dx, dy, from, l->in);
    golden_compare(g, "out", maps_plain(m, y, l->out), shape_count(l->out), 0);
    golden_compare(g, "grad_x", maps_plain(m, dx, l->in), shape_count(l->in),
                   1e-6);
}

static void golden_upsample(struct maps *m, struct golden *g, struct layer *l)
{
    double *zeros = maps_doubles(m, shape_count(l->out));
    float *x = layer_map(m, l->x, l->in), *y = layer_map(m, zeros, l->out);
    float *dx = layer_map(m, zeros, l->in), *dy = layer_map(m, l->dy, l->out);

    m->dev->ops->upsample_add(m->dev, y, x, l->in, l->out.H, l->out.W);
    m->dev->ops->upsample_add_backward(m->dev, dx, dy, l->in, l->out.H,
                                       l->out.W);
    golden_compare(g, "out", maps_plain(m, y, l->out), shape_count(l->out), 0);
    golden_compare(g, "grad_x", maps_plain(m, dx, l->in), shape_count(l->in),
                   1e-6);
}

static void golden_relu(struct maps *m, struct golden *g, struct layer *l)
{
    double *zeros = maps_doubles(m, shape_count(l->in));
    float *x = layer_map(m, l->x, l->in), *y = layer_map(m, zeros, l->in);
    float *dy = layer_map(m, l->dy, l->in);

    m->dev->ops->add_relu(m->dev, y, x, l->in);
    m->dev->ops->relu_backward(m->dev, dy, y, l->in);
    golden_compare(g, "out", maps_plain(m, y, l->in), shape_count(l->in), 0);
    golden_compare(g, "grad_x", maps_plain(m, dy, l->in), shape_count(l->in),
                   0);
}

static void run_golden(struct golden *g)
{
    static const struct {
        const char *name;
        void (*run)(struct maps *m, struct golden *g, struct layer *l);
    } kinds[] = {{"/maxpool", golden_pool},
                 {"/nearest", golden_upsample},
                 {"/relu", golden_relu}};

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct maps m;
        struct layer l;

        if (!strstr(g->name, kinds[i].name))
            continue;
        maps_open(&m, 0, 0);
        l = layer_golden(&m, g);
        kinds[i].run(&m, g, &l);
        maps_close(&m);
    }
}

START_TEST(layers_agree_with_the_reference)
{
    golden_each("07_layers", run_golden);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("layers");
    TCase *c = tcase_create("layers"), *threads = tcase_create("threads");

    tcase_add_test(c, what_is_packed_unpacks_to_the_same_bits);
    tcase_add_test(c, adding_and_masking_agree_with_plain_loops);
    tcase_add_test(c, a_nan_is_never_clamped_away);
    tcase_add_test(c, max_pool_and_its_gradient_agree_with_plain_loops);
    tcase_add_test(c, of_equal_values_the_first_takes_the_gradient);
    tcase_add_test(c, upsampling_and_its_gradient_agree_with_plain_loops);
    tcase_add_test(c, rows_and_their_gradients_agree_with_plain_loops);
    tcase_add_test(c, rows_without_a_scale_are_copies);
    tcase_add_test(c, gathered_rows_are_those_of_the_index);
    tcase_add_test(c, sgd_steps_as_torch_does);
    tcase_add_test(c, a_step_that_is_not_finite_is_a_fault_reported_once);
    tcase_add_test(c, nothing_moves_while_the_device_holds_a_fault);
    tcase_add_test(threads,
                   the_device_uses_the_cores_it_is_told_or_all_it_may_use);
    tcase_add_test(c, layers_agree_with_the_reference);
    suite_add_tcase(s, c);
    suite_add_tcase(s, threads);
    return s;
}
