#include "trainer/loader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/image.h"
#include "tests/suite.h"

enum { N_IMAGES = 7, BATCH = 2 };

static char folder[] = "/tmp/ld-loader-XXXXXX";
static struct ld_sample samples[N_IMAGES];
static struct ld_object objects[N_IMAGES];
static char names[N_IMAGES][16];
static struct ld_dataset set;

static void make_data(void)
{
    struct ld_err err = {0};
    char path[64];
    uint8_t pixels[64 * 40 * 3];

    ck_assert_ptr_nonnull(mkdtemp(folder));
    for (int i = 0; i < N_IMAGES; i++) {
        int W = i % 3 == 1 ? 30 : 48 + i; /* two are higher than wide */
        struct ld_image image = {pixels, 40, W};

        memset(pixels, 20 * i, sizeof(pixels));
        snprintf(names[i], sizeof(names[i]), "%d.png", i);
        snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        ck_assert_msg(ld_image_write(path, &image, &err), "%s", err.text);
        samples[i] = (struct ld_sample){.id = 100 + i,
                                        .name = names[i],
                                        .H = 40,
                                        .W = W,
                                        .first_object = i,
                                        .n_objects = 1,
                                        .trained = true};
        objects[i] = (struct ld_object){.box = {4, 4, 30, 30},
                                        .area = 676,
                                        .class_index = i % 2,
                                        .trained = true};
    }
    set = (struct ld_dataset){.folder = folder,
                              .samples = samples,
                              .n_samples = N_IMAGES,
                              .objects = objects,
                              .n_objects = N_IMAGES,
                              .n_classes = 2};
}

static void remove_data(void)
{
    char command[64];

    snprintf(command, sizeof(command), "rm -rf %s", folder);
    ck_assert_int_eq(system(command), 0);
}

static struct ld_loader_plan plan_with(int n_threads)
{
    return (struct ld_loader_plan){
        .n_ranks = 1,
        .set = &set,
        .views = {.rules = {64, 64, 32, {120, 120, 120}, {60, 60, 60}},
                  .flip = true},
        .assign = {9, LD_VLR_CODE, 0.25F, false},
        .batch = BATCH,
        .repeat = 1,
        .n_threads = n_threads,
        .seed = 5,
        .group_by_aspect = true,
    };
}

static struct ld_loader *start(int n_threads, int64_t epoch, int64_t step)
{
    struct ld_loader_plan plan = plan_with(n_threads);
    struct ld_err err = {0};
    struct ld_loader *loader = ld_loader_start(&plan, epoch, step, &err);

    ck_assert_msg(loader != NULL, "%s", err.text);
    return loader;
}

static const struct ld_batch *next(struct ld_loader *loader)
{
    struct ld_err err = {0};
    const struct ld_batch *batch = ld_loader_next(loader, &err);

    ck_assert_msg(batch != NULL, "%s", err.text);
    return batch;
}

static void same_pictures(const struct ld_batch_image *a,
                          const struct ld_batch_image *b)
{
    ck_assert_int_eq(a->picture.W, b->picture.W);
    ck_assert_mem_eq(a->picture.rgb, b->picture.rgb,
                     (size_t)(3 * a->picture.H * a->picture.W));
    ck_assert_mem_eq(&a->draw, &b->draw, sizeof(a->draw));
}

static void same_batches(struct ld_loader *a, struct ld_loader *b, int n)
{
    for (int k = 0; k < n; k++) {
        const struct ld_batch *p = next(a), *q = next(b);

        ck_assert_int_eq(p->epoch, q->epoch);
        ck_assert_int_eq(p->step_of_epoch, q->step_of_epoch);
        ck_assert_int_eq(p->W, q->W);
        for (int i = 0; i < BATCH; i++) {
            ck_assert_int_eq(p->images[i].sample->id, q->images[i].sample->id);
            ck_assert_int_eq(p->images[i].view.number,
                             q->images[i].view.number);
            ck_assert_int_eq(p->images[i].view.H, q->images[i].view.H);
            same_pictures(&p->images[i], &q->images[i]);
        }
    }
    ld_loader_stop(a);
    ld_loader_stop(b);
}

START_TEST(batches_do_not_depend_on_the_number_of_threads)
{
    same_batches(start(1, 0, 0), start(3, 0, 0), 9);
}
END_TEST

START_TEST(a_start_in_mid_epoch_gives_what_a_whole_run_would)
{
    struct ld_loader *whole = start(2, 0, 0);

    for (int i = 0; i < 6; i++) /* 4 steps an epoch: epoch 1, step 2 */
        next(whole);
    same_batches(whole, start(2, 1, 2), 5);
}
END_TEST

START_TEST(an_epoch_shows_every_image_in_full_batches_of_one_group)
{
    struct ld_loader *loader = start(2, 0, 0);
    int seen[N_IMAGES] = {0}, total = 0;

    ck_assert_int_eq(ld_loader_steps_per_epoch(loader), 4);
    for (int step = 0; step < 4; step++) {
        const struct ld_batch *batch = next(loader);

        for (int i = 0; i < BATCH; i++)
            seen[batch->images[i].sample->id - 100]++;
        for (int i = 0; i < BATCH; i++)
            ck_assert_int_eq(batch->images[i].sample->W == 30,
                             batch->images[0].sample->W == 30);
    }
    for (int i = 0; i < N_IMAGES; i++) {
        ck_assert_int_ge(seen[i], 1);
        total += seen[i];
    }
    ck_assert_int_eq(total, 8);
    ld_loader_stop(loader);
}
END_TEST

static struct ld_loader *start_seeded(int64_t epoch, int64_t step)
{
    struct ld_loader_plan plan = plan_with(2);
    struct ld_err err = {0};
    struct ld_loader *loader;

    plan.views.rules.long_edge = 96;
    plan.views.multi_scale = LD_SCALE_RANGE;
    plan.views.short_edges[0] = 40;
    plan.views.short_edges[1] = 90;
    plan.views.n_short_edges = 2;
    plan.views.n_seeded = 3;
    plan.repeat = 2;
    loader = ld_loader_start(&plan, epoch, step, &err);
    ck_assert_msg(loader != NULL, "%s", err.text);
    return loader;
}

/* Two passes an epoch: three epochs show each of three views twice. */
START_TEST(seeded_views_are_each_shown_equally_often)
{
    struct ld_loader *loader = start_seeded(0, 0);
    int64_t steps = ld_loader_steps_per_epoch(loader);
    int seen[N_IMAGES][3] = {{0}}, heights[N_IMAGES][3];

    ck_assert_int_eq(steps, N_IMAGES); /* 10 wide places, 4 others */
    for (int64_t i = 0; i < 3 * steps; i++) {
        const struct ld_batch *batch = next(loader);

        for (int k = 0; k < BATCH; k++) {
            const struct ld_view *view = &batch->images[k].view;
            int64_t image = batch->images[k].sample->id - 100;
            int *height = &heights[image][view->number];

            if (seen[image][view->number]++ == 0)
                *height = view->H;
            ck_assert_int_eq(view->H, *height);
        }
    }
    for (int i = 0; i < N_IMAGES; i++)
        for (int k = 0; k < 3; k++)
            ck_assert_int_eq(seen[i][k], 2);
    ld_loader_stop(loader);
    loader = start_seeded(0, 0);
    for (int64_t i = 0; i < steps + 3; i++)
        next(loader);
    same_batches(loader, start_seeded(1, 3), 6);
}
END_TEST

START_TEST(a_missing_image_is_named)
{
    struct ld_loader *loader;
    struct ld_err err = {0};
    char path[64];

    snprintf(path, sizeof(path), "%s/%s", folder, names[3]);
    ck_assert_int_eq(unlink(path), 0);
    loader = start(2, 0, 0);
    for (int i = 0; i < 4 && err.code == LD_OK; i++)
        ld_loader_next(loader, &err);
    ck_assert_int_eq(err.code, LD_ERR_IO);
    ck_assert_ptr_nonnull(strstr(err.text, names[3]));
    ld_loader_stop(loader);
}
END_TEST

START_TEST(an_image_of_another_size_than_annotated_is_refused)
{
    struct ld_loader *loader;
    struct ld_err err = {0};

    samples[2].W = 47;
    loader = start(1, 0, 0);
    for (int i = 0; i < 4 && err.code == LD_OK; i++)
        ld_loader_next(loader, &err);
    ck_assert_int_eq(err.code, LD_ERR_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.text, "its annotation says 47 x 40"));
    ld_loader_stop(loader);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("loader");
    TCase *c = tcase_create("loader");

    tcase_add_checked_fixture(c, make_data, remove_data);
    tcase_add_test(c, batches_do_not_depend_on_the_number_of_threads);
    tcase_add_test(c, a_start_in_mid_epoch_gives_what_a_whole_run_would);
    tcase_add_test(c, an_epoch_shows_every_image_in_full_batches_of_one_group);
    tcase_add_test(c, seeded_views_are_each_shown_equally_often);
    tcase_add_test(c, a_missing_image_is_named);
    tcase_add_test(c, an_image_of_another_size_than_annotated_is_refused);
    suite_add_tcase(s, c);
    return s;
}
