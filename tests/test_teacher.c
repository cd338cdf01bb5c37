#include "kernels/net/teacher.h"

#include <string.h>

#include "tests/devices.h"
#include "tests/nets.h"
#include "tests/suite.h"

enum { H = 64, W = 96, N_ROWS = 5, N_MAIN = 2 };

static struct ld_row rows[N_ROWS] = {
    {.location = 0, .kind = LD_ROW_VLR},
    {.location = 7, .kind = LD_ROW_MAIN},
    {.location = 95, .kind = LD_ROW_VLR},
    {.location = 96, .kind = LD_ROW_MAIN | LD_ROW_VLR},
    {.location = 126, .kind = LD_ROW_VLR},
};

static const struct ld_assignment assignment = {
    .n_rows = N_ROWS, .n_main = N_MAIN, .rows = rows};

struct school {
    struct ld_device *dev;
    struct ld_net *net;
    struct ld_teacher *teacher;
    uint8_t rgb[3 * H * W];
    struct ld_draw draw;
    struct ld_arena arena;
};

static void set_up(struct school *s)
{
    struct ld_model model = tiny_model();
    struct ld_tensor tensors[400];
    struct ld_err err = {0};
    struct ld_param *params;
    int n;

    s->dev = device_open(device_asked_for("cpu"), 1, LD_PRECISION_FP32, &err);
    check_ok(s->dev != NULL, &err);
    s->arena = (struct ld_arena){0};
    s->net = ld_net_new(s->dev, &model, LD_NET_INFER, &err);
    check_ok(s->net != NULL, &err);
    ld_net_init(s->net, 1);
    params = ld_net_params(s->net, &n);
    for (int i = 0; i < n; i++)
        tensors[i] = params[i].value;
    s->teacher = ld_teacher_new(s->dev, &model, tensors, n, &err);
    check_ok(s->teacher != NULL, &err);
    for (int i = 0; i < 3 * H * W; i++)
        s->rgb[i] = (uint8_t)(i * 37 % 101);
    s->draw = (struct ld_draw){.from_H = H,
                               .from_W = W,
                               .H = H,
                               .W = W,
                               .canvas_H = H,
                               .canvas_W = W,
                               .mean = {50, 50, 50},
                               .std = {50, 50, 50}};
}

static void tear_down(struct school *s)
{
    ld_teacher_free(s->teacher);
    ld_net_free(s->net);
    s->dev->ops->close(s->dev);
    ld_arena_free(&s->arena);
}

static void run_net(struct school *s)
{
    struct ld_err err = {0};

    check_ok(ld_net_resize(s->net, 1, H, W, &err), &err);
    check_ok(ld_net_show(s->net, 0, s->rgb, &s->draw, &err), &err);
    ld_net_forward(s->net);
}

START_TEST(a_teacher_gives_the_rows_of_its_network_bit_by_bit)
{
    struct ld_teacher_rows out;
    struct ld_err err = {0};
    struct school s;
    int at = 0;

    set_up(&s);
    run_net(&s);
    check_ok(ld_teacher_run(s.teacher, s.rgb, &s.draw, &assignment, false, &out,
                            &s.arena, &err),
             &err);
    ck_assert_int_eq(out.n_rows, N_ROWS);
    ck_assert_int_eq(out.n_main, N_MAIN);
    for (int i = 0; i < N_ROWS; i++) {
        int a = rows[i].location;

        ck_assert_mem_eq(out.box_logits + (size_t)i * 16,
                         ld_net_box_rows(s.net) + (size_t)a * 16,
                         16 * sizeof(float));
        if (rows[i].kind & LD_ROW_MAIN)
            ck_assert_mem_eq(out.class_logits + (size_t)at++ * 3,
                             ld_net_class_rows(s.net) + (size_t)a * 3,
                             3 * sizeof(float));
    }
    tear_down(&s);
}
END_TEST

START_TEST(a_teacher_gives_all_class_rows_if_asked)
{
    struct ld_teacher_rows out;
    struct ld_err err = {0};
    struct school s;

    set_up(&s);
    run_net(&s);
    check_ok(ld_teacher_run(s.teacher, s.rgb, &s.draw, &assignment, true, &out,
                            &s.arena, &err),
             &err);
    ck_assert_int_eq(out.n_main, N_ROWS);
    for (int i = 0; i < N_ROWS; i++)
        ck_assert_mem_eq(out.class_logits + (size_t)i * 3,
                         ld_net_class_rows(s.net) +
                             (size_t)rows[i].location * 3,
                         3 * sizeof(float));
    tear_down(&s);
}
END_TEST

static void start(struct school *s, struct ld_teacher_rows *out)
{
    struct ld_err err = {0};

    check_ok(ld_teacher_start(s->teacher, s->rgb, &s->draw, &assignment, false,
                              out, &s->arena, &err),
             &err);
}

/* Also where the pictures, and the canvas, are not the same. */
START_TEST(views_that_are_under_way_together_are_those_run_alone)
{
    enum { N_VIEWS = 3 };
    struct ld_teacher_rows alone[N_VIEWS], out[N_VIEWS];
    struct ld_err err = {0};
    uint64_t mark[N_VIEWS];
    struct school s;

    set_up(&s);
    for (int together = 0; together < 2; together++)
        for (int i = 0; i < N_VIEWS; i++) {
            s.rgb[100] = (uint8_t)(80 * i);
            s.draw.canvas_H = i == 1 ? H + 32 : H;
            start(&s, together ? &out[i] : &alone[i]);
            mark[i] = ld_teacher_mark(s.teacher);
            if (!together)
                check_ok(ld_teacher_finish(s.teacher, mark[i], &err), &err);
        }
    memset(s.rgb, 0, sizeof(s.rgb));
    for (int i = 0; i < N_VIEWS; i++) {
        check_ok(ld_teacher_finish(s.teacher, mark[i], &err), &err);
        ck_assert_mem_eq(out[i].box_logits, alone[i].box_logits,
                         (size_t)N_ROWS * 16 * sizeof(float));
        ck_assert_mem_eq(out[i].class_logits, alone[i].class_logits,
                         (size_t)N_MAIN * 3 * sizeof(float));
    }
    ck_assert_mem_ne(out[0].box_logits, out[2].box_logits,
                     (size_t)N_ROWS * 16 * sizeof(float));
    tear_down(&s);
}
END_TEST

START_TEST(an_image_without_rows_is_fine)
{
    struct ld_assignment none = {0};
    struct ld_teacher_rows out;
    struct ld_err err = {0};
    struct school s;

    set_up(&s);
    check_ok(ld_teacher_run(s.teacher, s.rgb, &s.draw, &none, false, &out,
                            &s.arena, &err),
             &err);
    ck_assert_int_eq(out.n_rows, 0);
    ck_assert_int_eq(out.n_main, 0);
    tear_down(&s);
}
END_TEST

START_TEST(a_canvas_that_is_no_multiple_of_32_is_refused)
{
    struct ld_teacher_rows out;
    struct ld_err err = {0};
    struct school s;

    set_up(&s);
    s.draw.canvas_H = 60;
    ck_assert(!ld_teacher_run(s.teacher, s.rgb, &s.draw, &assignment, false,
                              &out, &s.arena, &err));
    ck_assert_int_eq(err.code, LD_ERR_USAGE);
    ck_assert(strstr(err.text, "96 x 60") != NULL);
    tear_down(&s);
}
END_TEST

START_TEST(a_view_larger_than_its_canvas_is_refused)
{
    struct ld_teacher_rows out;
    struct ld_err err = {0};
    struct school s;

    set_up(&s);
    s.draw.canvas_H = H - 32;
    ck_assert(!ld_teacher_run(s.teacher, s.rgb, &s.draw, &assignment, false,
                              &out, &s.arena, &err));
    ck_assert_int_eq(err.code, LD_ERR_MISMATCH);
    ck_assert_str_eq(
        err.text, "teacher: a view of 96 x 64 pixels on a canvas of 96 x 32");
    tear_down(&s);
}
END_TEST

START_TEST(a_teacher_without_all_its_tensors_is_refused)
{
    struct ld_model model = tiny_model();
    struct ld_device *dev = open_cpu();
    struct ld_err err = {0};

    ck_assert_ptr_null(ld_teacher_new(dev, &model, NULL, 0, &err));
    ck_assert_int_eq(err.code, LD_ERR_MISMATCH);
    dev->ops->close(dev);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("teacher");
    TCase *c = tcase_create("teacher");

    tcase_add_test(c, a_teacher_gives_the_rows_of_its_network_bit_by_bit);
    tcase_add_test(c, a_teacher_gives_all_class_rows_if_asked);
    tcase_add_test(c, views_that_are_under_way_together_are_those_run_alone);
    tcase_add_test(c, an_image_without_rows_is_fine);
    tcase_add_test(c, a_canvas_that_is_no_multiple_of_32_is_refused);
    tcase_add_test(c, a_view_larger_than_its_canvas_is_refused);
    tcase_add_test(c, a_teacher_without_all_its_tensors_is_refused);
    suite_add_tcase(s, c);
    return s;
}
