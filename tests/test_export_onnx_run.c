#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernels/base/rng.h"
#include "kernels/net/detect.h"
#include "tests/made_detector.h"
#include "tests/scratch.h"
#include "tests/suite.h"
#include "trainer/export_onnx.h"

static void export_it(const struct made_detector *m)
{
    struct ld_err err = {0};

    check_ok(ld_export_onnx(&m->e, "a.onnx", &err), &err);
}

/* Runs tests/onnx_run.py with a Python; its exit status. */
static int run_python(const char *arguments)
{
    const char *python = getenv("LD_PYTHON");
    char command[1024];
    int status;

    snprintf(command, sizeof(command), "%s '%s/onnx_run.py' %s",
             python ? python : "python3", getenv("LD_TESTS"), arguments);
    status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

START_TEST(the_checker_of_onnx_passes_it)
{
    struct made_detector m;
    int status;

    if (run_python("--has onnx") != 0)
        SKIP_TEST("no Python with onnx (LD_PYTHON names one)");
    detector_make(&m, _i);
    export_it(&m);
    detector_free(&m);
    status = run_python("--check a.onnx");
    if (status == 77)
        SKIP_TEST("the onnx of this Python is too old for the operator set");
    ck_assert_int_eq(status, 0);
}
END_TEST

struct canvas {
    int H, W;          /* multiples of 32 */
    int rows, columns; /* of the image on it */
};

static float *draw(struct made_detector *m, struct canvas c)
{
    size_t plane = (size_t)c.H * c.W;
    struct ld_rng rng = ld_rng_seed(3, (uint64_t)plane);
    float *planes =
        ld_arena_new(&m->arena, 3 * plane, sizeof(float), &(struct ld_err){0});

    for (size_t i = 0; i < 3 * plane; i++) {
        size_t y = i % plane / (size_t)c.W, x = i % (size_t)c.W;

        if (y < (size_t)c.rows && x < (size_t)c.columns)
            planes[i] = ld_rng_normal(&rng);
    }
    return planes;
}

static float *download(struct made_detector *m, const float *from, size_t count)
{
    float *to =
        ld_arena_new(&m->arena, count, sizeof(*to), &(struct ld_err){0});

    m->dev->ops->download(m->dev, to, from, count * sizeof(*to));
    return to;
}

static struct ld_detections our_boxes(struct made_detector *m, struct canvas c,
                                      const float *planes)
{
    const struct ld_model *model = &m->e.model;
    int n_logits = ld_model_class_logits(model);
    struct ld_detect_input in = {.K = model->n_classes,
                                 .n_logits = n_logits,
                                 .B = model->reg_max + 1,
                                 .H = c.rows,
                                 .W = c.columns,
                                 .scale_x = 1,
                                 .scale_y = 1};
    struct ld_detections out;
    struct ld_err err = {0};
    struct ld_grid grid;
    size_t A;

    check_ok(ld_net_resize(m->net, 1, c.H, c.W, &err), &err);
    m->dev->ops->upload(m->dev, ld_net_input(m->net), planes,
                        3 * (size_t)c.H * c.W * sizeof(float));
    ld_net_forward(m->net);
    grid = ld_net_grid(m->net);
    A = (size_t)grid.start[grid.n_levels];
    in.grid = &grid;
    in.class_logits =
        download(m, ld_net_class_rows(m->net), A * (size_t)n_logits);
    in.box_logits = download(m, ld_net_box_rows(m->net), A * 4 * (size_t)in.B);
    if (ld_net_quality_rows(m->net))
        in.quality = download(m, ld_net_quality_rows(m->net), A);
    check_ok(ld_detect(&out, &in, &m->e.config.test, &m->arena, &err), &err);
    return out;
}

/* How many; -1 if this onnxruntime lacks an operator. */
static int their_boxes(struct canvas c, const float *planes,
                       struct ld_detection out[200])
{
    char arguments[200], *text, *at;
    size_t len;
    int n = 0, used, status;

    scratch_put("image.bin", planes, 3 * (size_t)c.H * c.W * sizeof(float));
    snprintf(arguments, sizeof(arguments),
             "a.onnx image.bin %d %d %d %d boxes.txt", c.H, c.W, c.rows,
             c.columns);
    status = run_python(arguments);
    if (status == 77)
        return -1;
    ck_assert_int_eq(status, 0);
    at = text = scratch_get("boxes.txt", &len);
    for (; n < 200 && sscanf(at, "%d %f %f %f %f %f\n%n", &out[n].class_index,
                             &out[n].score, &out[n].box.x0, &out[n].box.y0,
                             &out[n].box.x1, &out[n].box.y1, &used) == 6;
         n++)
        at += used;
    ck_assert_msg(!*at, "not a detection: %s", at);
    ld_delete(text);
    return n;
}

static double gap(const struct ld_detection *a, const struct ld_detection *b)
{
    double box =
        fmax(fmax(fabs(a->box.x0 - b->box.x0), fabs(a->box.y0 - b->box.y0)),
             fmax(fabs(a->box.x1 - b->box.x1), fabs(a->box.y1 - b->box.y1)));

    return a->class_index != b->class_index
               ? INFINITY
               : fmax(box, 1000 * fabs(a->score - b->score));
}

/* The largest distance, in pixels or thousandths of score, to the nearest of
 * those at about the same place in the order: equal scores may change places.
 */
static double worst_gap(const struct ld_detections *ours,
                        const struct ld_detection *theirs, int n)
{
    double worst = 0;

    for (int i = 0; i < ours->n; i++) {
        double best = INFINITY;

        for (int k = i > 3 ? i - 3 : 0; k < n && k <= i + 3; k++)
            best = fmin(best, gap(&ours->items[i], &theirs[k]));
        worst = fmax(worst, best);
    }
    return worst;
}

/* Tolerance: sides of some hundred pixels, through twenty to fifty convolutions
 * whose sums are made in other orders and, in oneDNN's Winograd form, lose two
 * of seven digits; 1.4e-3 was the worst. */
START_TEST(onnxruntime_finds_the_boxes_we_find)
{
    static const struct canvas canvas[] = {
        {64, 64, 64, 64}, {96, 160, 90, 131}, {256, 288, 250, 288}};
    struct ld_detection theirs[200];
    int found = 0;
    struct made_detector m;

    if (run_python("--has onnxruntime") != 0)
        SKIP_TEST("no Python with onnxruntime (LD_PYTHON names one)");
    detector_make(&m, _i);
    export_it(&m);
    for (size_t i = 0; i < sizeof(canvas) / sizeof(canvas[0]); i++) {
        float *planes = draw(&m, canvas[i]);
        struct ld_detections ours = our_boxes(&m, canvas[i], planes);
        int n = their_boxes(canvas[i], planes, theirs);
        double worst = worst_gap(&ours, theirs, n);

        printf("# %s, %dx%d: %d boxes, worst %.2g\n", m.kind, canvas[i].H,
               canvas[i].W, ours.n, worst);
        if (n < 0)
            break;
        found += ours.n;
        ck_assert_int_eq(ours.n, n);
        ck_assert_double_lt(worst, 5e-3);
    }
    detector_free(&m);
    if (found == 0)
        SKIP_TEST("this onnxruntime has no deformable convolution");
    ck_assert_int_gt(found, 100);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("export_onnx_run");
    TCase *c = tcase_create("all");

    tcase_add_checked_fixture(c, scratch_open, scratch_close);
    tcase_add_loop_test(c, the_checker_of_onnx_passes_it, 0, DETECTOR_KINDS);
    tcase_add_loop_test(c, onnxruntime_finds_the_boxes_we_find, 0,
                        DETECTOR_KINDS);
    suite_add_tcase(s, c);
    return s;
}
