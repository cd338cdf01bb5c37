#include "formats/views.h"

#include <math.h>
#include <string.h>

#include "kernels/base/rng.h"
#include "tests/suite.h"

enum { H = 427, W = 640 };

static struct ld_views recipe(enum ld_multi_scale mode, int low, int high)
{
    return (struct ld_views){
        .rules = {.long_edge = 1333, .short_edge = 800, .divisor = 32},
        .multi_scale = mode,
        .short_edges = {low, high},
        .n_short_edges = 2,
        .flip = true,
        .n_seeded = 12,
        .seed = 5,
    };
}

static void assert_same(const struct ld_view *a, const struct ld_view *b)
{
    ck_assert_int_eq(a->H, b->H);
    ck_assert_int_eq(a->W, b->W);
    ck_assert_int_eq(a->flipped, b->flipped);
    ck_assert_int_eq(a->number, b->number);
}

/* ---- the draws, computed anew ---- */

/* splitmix64's output function (Steele 2014) on x + the golden ratio. */
static uint64_t scramble(uint64_t x)
{
    x += 0x9e3779b97f4a7c15ULL;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

static uint64_t bits_of(int seed, int64_t image_id, int number)
{
    uint64_t of_seed = scramble((uint64_t)seed);
    uint64_t of_image = scramble(of_seed + (uint64_t)image_id);

    return scramble(of_image + (uint64_t)number);
}

/* The part of n that the upper 32 bits are of 2^32: exact in a double. */
static int drawn(uint64_t bits, int n)
{
    return (int)floor((double)(bits >> 32) / 4294967296.0 * n);
}

/* spec training 1 and observed 11 */
static int side_of(int side, double scale)
{
    return (int)(side * scale + 0.5);
}

static void assert_view(const struct ld_view *view, int edge, bool flipped,
                        int number)
{
    double scale = fmin(1333.0 / W, (double)edge / H);

    ck_assert_int_eq(view->H, side_of(H, scale));
    ck_assert_int_eq(view->W, side_of(W, scale));
    ck_assert_int_eq(view->canvas_H, (view->H + 31) / 32 * 32);
    ck_assert_int_eq(view->canvas_W, (view->W + 31) / 32 * 32);
    ck_assert_int_eq(view->flipped, flipped);
    ck_assert_int_eq(view->number, number);
}

START_TEST(a_seeded_view_is_a_hash_of_seed_image_and_number)
{
    static const int64_t ids[] = {1, 9, 139, 581929, 20080000123, -4};
    struct ld_views range = recipe(LD_SCALE_RANGE, 480, 800);
    struct ld_views value = recipe(LD_SCALE_VALUE, 640, 800);

    for (int seed = 0; seed < 3; seed++)
        for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
            for (int k = 0; k < 12; k++) {
                uint64_t bits = bits_of(seed, ids[i], k);
                struct ld_view view;

                range.seed = value.seed = seed;
                view = ld_views_cached(&range, ids[i], k, H, W);
                assert_view(&view, 480 + drawn(bits, 321), bits & 1, k);
                view = ld_views_cached(&value, ids[i], k, H, W);
                assert_view(&view, drawn(bits, 2) ? 800 : 640, bits & 1, k);
            }
    range.flip = false;
    for (int k = 0; k < 12; k++)
        ck_assert(!ld_views_cached(&range, 9, k, H, W).flipped);
}
END_TEST

/* A range takes in both its ends, and all between as often. */
static void assert_even(const struct ld_views *views, bool seeded)
{
    enum { DRAWS = 30000, EDGES = 11 };
    int seen[EDGES] = {0}, n_flipped = 0;

    for (int i = 0; i < DRAWS; i++) {
        struct ld_views_moment moment = {.seed = 3, .epoch = 2, .place = i};
        /* an image so small that its height is the short edge to the pixel */
        struct ld_view view =
            seeded ? ld_views_cached(views, i / 12, i % 12, 100, 150)
                   : ld_views_shown(views, &moment, 100, 150);

        ck_assert_int_ge(view.H, 700);
        ck_assert_int_le(view.H, 710);
        seen[view.H - 700]++;
        n_flipped += view.flipped;
    }
    /* five standard deviations of a binomial count */
    ck_assert_double_eq_tol(n_flipped, DRAWS / 2.0, 5 * sqrt(DRAWS / 4.0));
    for (int i = 0; i < EDGES; i++)
        ck_assert_double_eq_tol(seen[i], (double)DRAWS / EDGES,
                                5 * sqrt((double)DRAWS / EDGES));
}

START_TEST(every_edge_of_a_range_and_both_flips_are_as_likely)
{
    struct ld_views views = recipe(LD_SCALE_RANGE, 700, 710);

    assert_even(&views, true);
    views.n_seeded = 0;
    assert_even(&views, false);
}
END_TEST

START_TEST(as_many_passes_as_views_show_each_view_once)
{
    enum { K = 12, IMAGES = 40, CYCLES = 3 };
    struct ld_views views = recipe(LD_SCALE_RANGE, 480, 800);
    int first[IMAGES], n_other = 0;

    for (int id = 0; id < IMAGES; id++)
        for (int cycle = 0; cycle < CYCLES; cycle++) {
            bool seen[K] = {false};

            for (int i = 0; i < K; i++) {
                struct ld_views_moment moment = {
                    .seed = 7, .image_id = id, .pass = cycle * K + i};
                struct ld_view view = ld_views_shown(&views, &moment, H, W);
                struct ld_view same =
                    ld_views_cached(&views, id, view.number, H, W);

                assert_same(&view, &same);
                ck_assert(!seen[view.number]);
                seen[view.number] = true;
                if (cycle == 0 && i == 0)
                    first[id] = view.number;
            }
        }
    for (int id = 1; id < IMAGES; id++)
        n_other += first[id] != first[0];
    ck_assert_int_gt(n_other, IMAGES / 2);
}
END_TEST

START_TEST(without_seeded_views_a_draw_is_of_epoch_and_place)
{
    struct ld_views views = recipe(LD_SCALE_VALUE, 640, 800);
    struct ld_views one = recipe(LD_SCALE_NONE, 0, 0);
    int n_scales = 0;

    views.n_seeded = one.n_seeded = one.n_short_edges = 0;
    for (int64_t epoch = 0; epoch < 4; epoch++)
        for (int64_t place = 0; place < 50; place++) {
            struct ld_views_moment moment = {4, 77, epoch, epoch, place};
            struct ld_view view = ld_views_shown(&views, &moment, H, W);
            struct ld_view plain = ld_views_shown(&one, &moment, H, W), other;

            ck_assert_int_eq(plain.H, 800);
            ck_assert_int_eq(plain.number, plain.flipped);
            ck_assert_int_eq(plain.flipped, view.flipped);
            n_scales += view.H == 800;
            moment.image_id = 78;
            other = ld_views_shown(&views, &moment, H, W);
            assert_same(&view, &other);
        }
    ck_assert_int_gt(n_scales, 60);
    ck_assert_int_lt(n_scales, 140);
    ck_assert_int_eq(ld_views_cached(&one, 5, 1, H, W).flipped, true);
    ck_assert_int_eq(ld_views_cached(&one, 5, 0, H, W).flipped, false);
}
END_TEST

/* ---- what a config may ask for ---- */

static void assert_refused(const struct ld_views *views, bool cached,
                           const char *text)
{
    struct ld_err err = {0};

    ck_assert(!ld_views_check(views, cached, &err));
    ck_assert_int_eq(err.code, LD_ERR_USAGE);
    ck_assert_msg(strncmp(err.text, text, strlen(text)) == 0, "%s", err.text);
}

START_TEST(edges_that_do_not_fit_the_mode_are_refused)
{
    struct ld_views views = recipe(LD_SCALE_RANGE, 480, 800);
    struct ld_err err = {0};

    ck_assert_msg(ld_views_check(&views, true, &err), "%s", err.text);
    views.short_edges[0] = 801;
    assert_refused(&views, false,
                   "view.short_edges: view.multi_scale is range");
    views.short_edges[0] = 480;
    views.n_short_edges = 1;
    assert_refused(&views, false,
                   "view.short_edges: view.multi_scale is range");
    views.multi_scale = LD_SCALE_VALUE;
    ck_assert_msg(ld_views_check(&views, true, &err), "%s", err.text);
    views.n_short_edges = 0;
    assert_refused(&views, false,
                   "view.short_edges: view.multi_scale is value");
    views = recipe(LD_SCALE_VALUE, 640, 1400);
    assert_refused(&views, false,
                   "view.short_edges: 1400 is above view.long_edge, 1333");
    views.multi_scale = LD_SCALE_NONE;
    assert_refused(&views, false,
                   "view.short_edges: set, but view.multi_scale is none");
}
END_TEST

START_TEST(a_cache_of_several_scales_says_how_many_views)
{
    struct ld_views views = recipe(LD_SCALE_RANGE, 480, 800);
    struct ld_err err = {0};

    ck_assert_int_eq(ld_views_per_image(&views), 12);
    views.n_seeded = 0;
    ck_assert_msg(ld_views_check(&views, false, &err), "%s", err.text);
    assert_refused(&views, true,
                   "cache.views: not set, but view.multi_scale is range");
    views.n_seeded = 1;
    assert_refused(&views, true, "cache.views: 1 would show");
    views = recipe(LD_SCALE_NONE, 0, 0);
    views.n_short_edges = 0;
    assert_refused(&views, false,
                   "cache.views: 12, but view.multi_scale is none");
    views.n_seeded = 0;
    ck_assert_msg(ld_views_check(&views, true, &err), "%s", err.text);
    ck_assert_int_eq(ld_views_per_image(&views), 2);
    views.flip = false;
    ck_assert_int_eq(ld_views_per_image(&views), 1);
}
END_TEST

START_TEST(edges_and_views_are_named)
{
    struct ld_views views = recipe(LD_SCALE_RANGE, 480, 960);
    struct ld_view view = {.number = 3};
    char text[96], name[32];

    ld_views_edges_text(&views, text);
    ck_assert_str_eq(text, "480 to 960");
    views.multi_scale = LD_SCALE_VALUE;
    ld_views_edges_text(&views, text);
    ck_assert_str_eq(text, "480, 960");
    views = recipe(LD_SCALE_NONE, 0, 0);
    views.n_short_edges = 0;
    ld_views_edges_text(&views, text);
    ck_assert_str_eq(text, "800");
    ld_view_name(&view, true, name);
    ck_assert_str_eq(name, ", view 3");
    view.flipped = true;
    ld_view_name(&view, false, name);
    ck_assert_str_eq(name, ", flipped");
    ld_view_name(&view, true, name);
    ck_assert_str_eq(name, ", view 3, flipped");
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("views");
    TCase *c = tcase_create("views");

    tcase_add_test(c, a_seeded_view_is_a_hash_of_seed_image_and_number);
    tcase_add_test(c, every_edge_of_a_range_and_both_flips_are_as_likely);
    tcase_add_test(c, as_many_passes_as_views_show_each_view_once);
    tcase_add_test(c, without_seeded_views_a_draw_is_of_epoch_and_place);
    tcase_add_test(c, edges_that_do_not_fit_the_mode_are_refused);
    tcase_add_test(c, a_cache_of_several_scales_says_how_many_views);
    tcase_add_test(c, edges_and_views_are_named);
    suite_add_tcase(s, c);
    return s;
}
