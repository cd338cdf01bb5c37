#include <string.h>

#include "tests/layer.h"
#include "tests/suite.h"

/* ---- average pooling ---- */

/* Sums what a window covers; divides by 9, or by what it covers. */
static double mean_of(const struct layer *l, const double *map, int h, int w,
                      int kernel)
{
    int pad = kernel == 3, n = 0;
    double sum = 0;

    for (int k = 0; k < kernel * kernel; k++) {
        int row = 2 * h - pad + k / kernel, column = 2 * w - pad + k % kernel;

        if (row < 0 || row >= l->in.H || column < 0 || column >= l->in.W)
            continue;
        sum += map[row * l->in.W + column];
        n++;
    }
    return sum / (kernel == 3 ? 9 : n);
}

static void pool_plain(const struct layer *l, double *y, int kernel)
{
    for (int plane = 0; plane < l->in.N * l->in.C; plane++)
        for (int h = 0; h < l->out.H; h++)
            for (int w = 0; w < l->out.W; w++)
                *y++ =
                    mean_of(l, l->x + plane * l->in.H * l->in.W, h, w, kernel);
}

static void pool_2(const struct layer *l, double *y)
{
    pool_plain(l, y, 2);
}

static void pool_3(const struct layer *l, double *y)
{
    pool_plain(l, y, 3);
}

static void check_pool(struct ld_shape in, int kernel, int n_threads)
{
    struct ld_shape out = {in.N, in.C, (in.H + 1) / 2, (in.W + 1) / 2};
    struct layer l;
    struct maps m;
    float *y, *dx;
    const float *plain;

    maps_open(&m, n_threads, 300 + (uint64_t)kernel);
    l = layer_of(&m, in, out, kernel == 2 ? pool_2 : pool_3);
    y = maps_map(&m, NULL, out);
    dx = maps_map(&m, NULL, in);
    m.dev->ops->avgpool_forward(m.dev, y, layer_map(&m, l.x, in), in, kernel);
    layer_check(&m, &l, "means", y);
    m.dev->ops->avgpool_backward(m.dev, dx, layer_map(&m, l.dy, out), in,
                                 kernel);
    plain = maps_plain(&m, dx, in);
    layer_check_gradient(&m, &l, "dx", l.x, shape_count(in), plain);
    maps_close(&m);
}

START_TEST(means_of_windows_and_their_gradients_agree_with_plain_loops)
{
    static const struct ld_shape shapes[] = {{2, 20, 13, 11}, {1, 64, 8, 8},
                                             {1, 3, 1, 5},    {2, 26, 6, 1},
                                             {1, 16, 1, 1},   {1, 104, 7, 4}};

    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        for (int kernel = 2; kernel <= 3; kernel++)
            check_pool(shapes[i], kernel, i % 2 ? 2 : 1);
}
END_TEST

/* ---- channels from map to map ---- */

static struct ld_channels random_channels(struct maps *m)
{
    static const int sizes[] = {1, 3, 8, 13}, few[] = {1, 2};
    static const int widths[] = {26, 104, 16, 52, 5, 64};
    struct ld_shape from = {maps_pick(m, few, 2), maps_pick(m, widths, 6),
                            maps_pick(m, sizes, 4), maps_pick(m, sizes, 4)};
    struct ld_shape to = from;
    int least;

    to.C = maps_pick(m, widths, 6);
    least = to.C < from.C ? to.C : from.C;
    return (struct ld_channels){
        .to = to,
        .from = from,
        .C = least,
        .to_at = (int)ld_rng_below(&m->rng, (uint32_t)(to.C - least + 1)),
        .from_at = (int)ld_rng_below(&m->rng, (uint32_t)(from.C - least + 1))};
}

/* How many numbers of `to` are not what plain loops make of it. */
static int count_wrong(const struct ld_channels *c, const float *to,
                       const float *before, const float *from, bool adds)
{
    size_t area = (size_t)c->to.H * c->to.W;
    int wrong = 0;

    for (size_t i = 0; i < shape_count(c->to); i++) {
        int at = (int)(i / area % c->to.C), k = at - c->to_at;
        size_t n = i / area / c->to.C;
        float want = before[i];

        if (k >= 0 && k < c->C)
            want = (adds ? want : 0) +
                   from[((n * c->from.C) + c->from_at + k) * area + i % area];
        wrong += to[i] != want;
    }
    return wrong;
}

static void check_channels(uint64_t seed, bool adds)
{
    struct ld_channels c;
    struct maps m;
    const float *before, *from;
    float *to;

    maps_open(&m, seed % 2 ? 2 : 1, seed);
    c = random_channels(&m);
    before = maps_normal(&m, shape_count(c.to));
    from = maps_normal(&m, shape_count(c.from));
    to = maps_map(&m, before, c.to);
    (adds ? m.dev->ops->channels_add : m.dev->ops->channels_copy)(
        m.dev, to, maps_map(&m, from, c.from), &c);
    ck_assert_int_eq(
        count_wrong(&c, maps_plain(&m, to, c.to), before, from, adds), 0);
    maps_close(&m);
}

START_TEST(channels_move_from_any_place_to_any_and_the_rest_stays)
{
    for (uint64_t seed = 400; seed < 440; seed++) {
        check_channels(seed, false);
        check_channels(seed, true);
    }
}
END_TEST

START_TEST(parts_make_a_whole_map_in_memory_that_held_anything)
{
    struct ld_shape part = {2, 26, 3, 5}, whole = {2, 104, 3, 5};
    size_t bytes, count = shape_count(part);
    const float *x[4];
    struct maps m;
    float *y;

    maps_open(&m, 1, 500);
    bytes = m.dev->ops->map_bytes(m.dev, whole);
    y = maps_memory(&m, bytes);
    memset(y, 0xff, bytes); /* NaN, in the padding too */
    for (int i = 3; i >= 0; i--) {
        struct ld_channels c = {
            .to = whole, .from = part, .to_at = 26 * i, .C = 26};

        x[i] = maps_normal(&m, count);
        m.dev->ops->channels_copy(m.dev, y, maps_map(&m, x[i], part), &c);
    }
    for (int i = 0; i < 4; i++)
        ck_assert_mem_eq(maps_plain(&m, y, whole) + i * (count / 2), x[i],
                         count / 2 * sizeof(float)); /* of image 0 */
    maps_close(&m);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("splits");
    TCase *c = tcase_create("splits");

    tcase_add_test(c,
                   means_of_windows_and_their_gradients_agree_with_plain_loops);
    tcase_add_test(c, channels_move_from_any_place_to_any_and_the_rest_stays);
    tcase_add_test(c, parts_make_a_whole_map_in_memory_that_held_anything);
    suite_add_tcase(s, c);
    return s;
}
