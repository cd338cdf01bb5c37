#include "kernels/loss.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/golden.h"
#include "tests/golden_grid.h"
#include "tests/golden_rows.h"
#include "tests/loss_device.h"
#include "tests/suite.h"

/* Ours evaluates in float32 as the reference does, in another order. */
static const double CLOSE = 1e-5;

static void compare_losses(struct golden *g, const char *name,
                           const struct ld_loss_terms *terms, int n_terms)
{
    struct golden_array want = golden_array(g, name);
    const float *value = want.data;

    for (int term = 0; term < n_terms; term++) {
        for (int level = 0; level < 5; level++) {
            double w = (double)value[term * 5 + level];
            double got = terms->value[term][level];

            ck_assert_msg(fabs(got - w) <= 1e-5 * fmax(fabs(w), 0.01),
                          "%s: %s of level %d is %.8g, expected %.8g", g->name,
                          ld_term_name((enum ld_term)term), level, got, w);
        }
    }
}

static void golden_image(struct golden *g, struct loss_batch *t, int image)
{
    struct golden_array boxes =
        golden_array(g, golden_level("gt_bboxes", image));
    char path[64];
    int H, W;
    struct ld_grid own;

    snprintf(path, sizeof(path), "params.img_metas.%d.pad_shape.0", image);
    H = (int)golden_number(g, path);
    snprintf(path, sizeof(path), "params.img_metas.%d.pad_shape.1", image);
    W = (int)golden_number(g, path);
    own = ld_grid_of_canvas(H, W);
    loss_batch_image(t, image, &own, boxes.data,
                     golden_array(g, golden_level("gt_labels", image)).data,
                     boxes.dim[0]);
}

static void compare_head(struct golden *g)
{
    struct loss_batch t;
    struct ld_loss_rules rules = reference_rules;
    int N = (int)golden_number(g, "params.num_imgs");
    int K = (int)golden_number(g, "params.num_classes");
    const char *kind = golden_string(g, "params.loss_bbox.type");

    rules.box_loss = strcmp(kind, "CIoULoss") == 0 ? LD_BOX_CIOU : LD_BOX_GIOU;
    loss_batch_start(&t, golden_grid(g), N, K, 17);
    golden_read_rows(g, t.z, "cls", &t.b.grid, N, (size_t)K);
    golden_read_rows(g, t.r, "reg", &t.b.grid, N, 68);
    golden_read_rows(g, t.teacher_z, "tcls", &t.b.grid, N, (size_t)K);
    golden_read_rows(g, t.teacher_r, "treg", &t.b.grid, N, 68);
    for (int image = 0; image < N; image++)
        golden_image(g, &t, image);
    loss_batch_run_there(&t, &rules);
    compare_losses(g, "gibox_losses", &t.terms, LD_TERM_KD + 1);
    golden_compare_rows(g, t.dz, "grad_cls", &t.b.grid, N, (size_t)K, CLOSE);
    golden_compare_rows(g, t.dr, "grad_reg", &t.b.grid, N, 68, CLOSE);

    t.b.teacher_box = t.b.teacher_class = NULL;
    loss_batch_run_there(&t, &rules);
    ck_assert_double_eq(ld_loss_term(&t.terms, LD_TERM_LD), 0);
    if (strstr(g->name, "e_no_positive")) {
        golden_left_out(g, "the losses without a teacher are NaN in the "
                           "reference; ours are finite");
        ck_assert(isfinite(ld_loss_total(&t.terms)));
    } else {
        compare_losses(g, "gfl_losses", &t.terms, LD_TERM_DFL + 1);
        golden_compare_rows(g, t.dz, "gfl_grad_cls", &t.b.grid, N, (size_t)K,
                            CLOSE);
        golden_compare_rows(g, t.dr, "gfl_grad_reg", &t.b.grid, N, 68, CLOSE);
    }
    golden_left_out(g, "loss_im: compared in test_imitate_golden");
    ld_arena_free(&t.arena);
}

START_TEST(losses_and_gradients_of_a_batch_are_those_of_the_reference)
{
    golden_each("05_ld_loss", compare_head);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("loss_cpu");
    TCase *c = tcase_create("loss_cpu");

    tcase_add_test(c,
                   losses_and_gradients_of_a_batch_are_those_of_the_reference);
    suite_add_tcase(s, c);
    return s;
}
