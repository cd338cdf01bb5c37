#include "kernels/net/detect_vote.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/progress.h"
#include "kernels/base/rng.h"
#include "kernels/net/detect.h"
#include "tests/suite.h"

/* ---- the reference's way: matrices of all candidates ---- */

struct set {
    struct ld_arena arena;
    struct ld_detection *items; /* (n) by falling score */
    int n;
    float *m; /* (n, n) of i < j: M of the moved boxes; i == j: 1; else 0 */
    bool *stays;
};

static void *room(struct set *s, size_t n, size_t size)
{
    struct ld_err err = {0};
    void *memory = ld_arena_new(&s->arena, n, size, &err);

    ck_assert_ptr_nonnull(memory);
    return memory;
}

static float side(float low, float high)
{
    return high > low ? high - low : 0;
}

static float coded_overlap(const struct ld_detection *p,
                           const struct ld_detection *q)
{
    float dp = 4000 * (float)p->class_index, dq = 4000 * (float)q->class_index;
    struct ld_box a = {p->box.x0 + dp, p->box.y0 + dp, p->box.x1 + dp,
                       p->box.y1 + dp};
    struct ld_box b = {q->box.x0 + dq, q->box.y0 + dq, q->box.x1 + dq,
                       q->box.y1 + dq};
    float inter = side(fmaxf(a.x0, b.x0), fminf(a.x1, b.x1)) *
                  side(fmaxf(a.y0, b.y0), fminf(a.y1, b.y1));
    float both =
        (a.x1 - a.x0) * (a.y1 - a.y0) + (b.x1 - b.x0) * (b.y1 - b.y0) - inter;
    float dx = (a.x0 + a.x1 - b.x0 - b.x1) / 2;
    float dy = (a.y0 + a.y1 - b.y0 - b.y1) / 2;
    float w = fmaxf(a.x1, b.x1) - fminf(a.x0, b.x0);
    float h = fmaxf(a.y1, b.y1) - fminf(a.y0, b.y0);

    return inter / both -
           powf((dx * dx + dy * dy) / (w * w + h * h + 1e-7F), 0.8F);
}

static void fill_matrix(struct set *s)
{
    size_t n = (size_t)s->n;

    s->m = room(s, n * n, sizeof(*s->m));
    for (size_t i = 0; i < n; i++) {
        s->m[i * n + i] = 1;
        for (size_t j = i + 1; j < n; j++)
            s->m[i * n + j] = coded_overlap(&s->items[i], &s->items[j]);
    }
}

/* Cluster-NMS: rows of boxes that do not stay are put out until nothing moves.
 */
static void iterate(struct set *s)
{
    size_t n = (size_t)s->n;
    bool *next = room(s, n, 1);
    bool moved = true;

    s->stays = room(s, n, 1);
    memset(s->stays, true, n);
    while (moved) {
        for (size_t j = 0; j < n; j++) {
            float most = 0;

            for (size_t i = 0; i < j; i++)
                if (s->stays[i])
                    most = fmaxf(most, s->m[i * n + j]);
            next[j] = most <= 0.6F;
        }
        moved = memcmp(next, s->stays, n) != 0;
        memcpy(s->stays, next, n);
    }
}

static struct ld_box coded_vote(const struct set *s, size_t i)
{
    size_t n = (size_t)s->n;
    double sum[5] = {0};

    for (size_t j = 0; j < n; j++) {
        double q = j >= i && s->m[i * n + j] > 0.7F ? s->m[i * n + j] : 0;
        double v = exp(-(1 - q) * (1 - q) / 0.025) * (double)s->items[j].score;
        const struct ld_box *b = &s->items[j].box;

        sum[0] += v * (double)b->x0;
        sum[1] += v * (double)b->y0;
        sum[2] += v * (double)b->x1;
        sum[3] += v * (double)b->y1;
        sum[4] += v;
    }
    return (struct ld_box){(float)(sum[0] / sum[4]), (float)(sum[1] / sum[4]),
                           (float)(sum[2] / sum[4]), (float)(sum[3] / sum[4])};
}

/* ---- pictures ---- */

enum { B = 17, MAX_K = 80 };

static struct ld_detect_input picture(struct set *s, const struct ld_grid *grid,
                                      int K, uint64_t seed)
{
    size_t A = (size_t)grid->start[grid->n_levels];
    struct ld_rng rng = ld_rng_seed(seed, 0);
    float *z = room(s, A * (size_t)K, sizeof(*z));
    float *r = room(s, A * 4 * B, sizeof(*r));

    for (size_t i = 0; i < A * (size_t)K; i++)
        z[i] = 2 * ld_rng_normal(&rng) - 6;
    for (size_t i = 0; i < A * 4; i++) {
        float far = 3 + ld_rng_normal(&rng);

        for (int b = 0; b < B; b++)
            r[i * B + (size_t)b] = -((float)b - far) * ((float)b - far);
    }
    return (struct ld_detect_input){.grid = grid,
                                    .class_logits = z,
                                    .box_logits = r,
                                    .K = K,
                                    .B = B,
                                    .H = grid->H[0] * 8,
                                    .W = grid->W[0] * 8,
                                    .scale_x = 1,
                                    .scale_y = 1,
                                    .n_logits = K};
}

static struct ld_detections detect(struct set *s,
                                   const struct ld_detect_input *in,
                                   enum ld_nms nms, float iou, int most)
{
    struct ld_detect_rules rules = {nms, 0.05F, iou, 1000, most};
    struct ld_detections out;
    struct ld_err err = {0};

    ck_assert_msg(ld_detect(&out, in, &rules, &s->arena, &err), "%s", err.text);
    return out;
}

static float distance(struct ld_box a, struct ld_box b)
{
    return fmaxf(fmaxf(fabsf(a.x0 - b.x0), fabsf(a.y0 - b.y0)),
                 fmaxf(fabsf(a.x1 - b.x1), fabsf(a.y1 - b.y1)));
}

START_TEST(votes_are_those_of_the_matrices_of_the_coded_form)
{
    static const int classes[] = {1, 3, 80};

    for (size_t c = 0; c < sizeof(classes) / sizeof(classes[0]); c++) {
        struct ld_grid grid = ld_grid_of_canvas(128, c == 2 ? 64 : 160);
        struct set s = {0};
        struct ld_detect_input in = picture(&s, &grid, classes[c], 7 + c);
        struct ld_detections all = detect(&s, &in, LD_NMS_PLAIN, 2, 1 << 20);
        struct ld_detections got = detect(&s, &in, LD_NMS_VOTING, 0.6F, 100);
        float furthest = 0, moved = 0;
        int n = 0;

        s.items = all.items;
        s.n = all.n;
        ck_assert_int_gt(s.n, 20);
        fill_matrix(&s);
        iterate(&s);
        for (int i = 0; i < s.n && n < 100; i++) {
            struct ld_box want;

            if (!s.stays[i])
                continue;
            ck_assert_int_lt(n, got.n);
            want = coded_vote(&s, (size_t)i);
            ck_assert_int_eq(got.items[n].class_index, s.items[i].class_index);
            ck_assert(got.items[n].score == s.items[i].score);
            furthest = fmaxf(furthest, distance(got.items[n].box, want));
            moved = fmaxf(moved, distance(s.items[i].box, want));
            n++;
        }
        ck_assert_int_eq(n, got.n);
        ck_assert_float_gt(moved, 0.1F);
        /* M is rounded at 6e-8, and a hundred votes of weights that turn on it
         * by 80 at most move a box of 100 pixels */
        ck_assert_float_lt(furthest, 1e-3F);
        ld_arena_free(&s.arena);
    }
}
END_TEST

START_TEST(a_box_is_the_mean_of_itself_and_its_like_weighted)
{
    struct ld_box own = {10, 10, 50, 50}, like = {12, 10, 52, 50};
    struct ld_box apart = {30, 30, 70, 70};
    double m = 38.0 / 42 - pow(4.0 / (42 * 42 + 40 * 40), 0.8);
    double v = 0.5 * exp(-(1 - m) * (1 - m) / 0.025);
    struct ld_vote vote = ld_vote_start(own, 0, 0.9F);
    struct ld_box mean;

    ck_assert_float_eq_tol(ld_vote_overlap(own, like, 0), (float)m, 1e-6F);
    ck_assert_float_eq_tol(ld_vote_overlap(own, own, 3), 1, 1e-6F);
    ck_assert(ld_vote_suppresses(own, like, 0, 0.6F));
    ck_assert(!ld_vote_suppresses(own, apart, 0, 0));
    ld_vote_add(&vote, like, 0.5F);
    ld_vote_add(&vote, apart, 0.8F);
    mean = ld_vote_result(&vote);
    ck_assert_float_eq_tol(mean.x0, (float)((9 + 12 * v) / (0.9 + v)), 1e-4F);
    ck_assert_float_eq_tol(mean.x1, (float)((45 + 52 * v) / (0.9 + v)), 1e-4F);
    ck_assert_float_eq_tol(mean.y0, 10, 1e-5F);
    ck_assert_float_eq_tol(mean.y1, 50, 1e-5F);
}
END_TEST

START_TEST(a_box_without_area_stays_where_it_is)
{
    struct ld_box flat = {5, 7, 5, 9};
    struct ld_vote vote = ld_vote_start(flat, 2, 0.3F);
    struct ld_box mean;

    ld_vote_add(&vote, flat, 0.3F);
    mean = ld_vote_result(&vote);
    ck_assert_float_lt(distance(mean, flat), 1e-6F);
}
END_TEST

/* Class 1 at (x, y) is moved to where class 0 at (x + 4000, y + 4000) stands.
 */
START_TEST(classes_do_not_meet_in_images_of_more_than_4000_pixels)
{
    struct ld_grid grid = ld_grid_of_canvas(256, 256);
    struct set s = {0};
    struct ld_detect_input in = picture(&s, &grid, 2, 1);
    float *z = (float *)in.class_logits;
    struct ld_detections got;

    in.scale_x = in.scale_y = 0.04F; /* 160 scaled pixels are 4000 */
    for (int a = 0; a < grid.start[5]; a++)
        z[2 * a] = z[2 * a + 1] = -20;
    z[2 * (28 * 32 + 28)] = 3;
    z[2 * (8 * 32 + 8) + 1] = 2;
    memcpy((float *)in.box_logits + (8 * 32 + 8) * 4 * B,
           in.box_logits + (28 * 32 + 28) * 4 * B, 4 * B * sizeof(float));
    got = detect(&s, &in, LD_NMS_VOTING, 0.6F, 100);
    ck_assert_int_eq(got.n, 2);
    ck_assert_float_gt(coded_overlap(&got.items[0], &got.items[1]), 0.9F);
    ld_arena_free(&s.arena);
}
END_TEST

START_TEST(thousands_of_candidates_are_soon_voted_on)
{
    struct ld_grid grid = ld_grid_of_canvas(800, 800);
    struct set s = {0};
    struct ld_detect_input in = picture(&s, &grid, 20, 5);
    double seconds[2];

    for (int nms = LD_NMS_PLAIN; nms <= LD_NMS_VOTING; nms++) {
        seconds[nms] = 1e9;
        for (int i = 0; i < 5; i++) {
            double began = ld_seconds();

            detect(&s, &in, (enum ld_nms)nms, 0.6F, 100);
            seconds[nms] = fmin(seconds[nms], ld_seconds() - began);
        }
    }
    printf("# %d candidates: plain %.2f ms, voting %.2f ms\n",
           detect(&s, &in, LD_NMS_PLAIN, 2, 1 << 20).n, 1e3 * seconds[0],
           1e3 * seconds[1]);
    /* the reference's matrices of them are read some ten times each */
    ck_assert_double_lt(seconds[1], 0.5);
    ld_arena_free(&s.arena);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("detect_vote");
    TCase *c = tcase_create("detect_vote");

    tcase_add_test(c, votes_are_those_of_the_matrices_of_the_coded_form);
    tcase_add_test(c, a_box_is_the_mean_of_itself_and_its_like_weighted);
    tcase_add_test(c, a_box_without_area_stays_where_it_is);
    tcase_add_test(c, classes_do_not_meet_in_images_of_more_than_4000_pixels);
    tcase_add_test(c, thousands_of_candidates_are_soon_voted_on);
    suite_add_tcase(s, c);
    return s;
}
