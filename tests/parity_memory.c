/* What comes down from a device, and when: the CPU's, and the plug-in's. */
#include <math.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "tests/devices.h"
#include "tests/suite.h"

struct store {
    struct ld_device *dev;
    unsigned char *truth, *on_device, *back; /* of `bytes` */
    size_t bytes;
    struct ld_arena arena;
    struct ld_err err;
};

/* The CPU's of case 0. False where there is no GPU to be tested. */
static bool open_store(struct store *s, int which, size_t bytes)
{
    const char *name = which ? device_asked_for("emulated") : "cpu";
    struct ld_rng rng = ld_rng_seed(3, 0);

    *s = (struct store){.bytes = bytes};
    if (strcmp(name, "cuda") == 0 && last_skipped()) { /* opening takes long */
        note_skipped(last_skipped());
        return false;
    }
    s->dev = device_open(name, 1, LD_PRECISION_FP32, &s->err);
    if (!s->dev && strcmp(name, "cuda") == 0) {
        note_skipped(s->err.text);
        return false;
    }
    ck_assert_msg(s->dev != NULL, "%s", s->err.text);
    s->truth = ld_arena_new(&s->arena, bytes, 1, &s->err);
    s->back = ld_arena_new(&s->arena, bytes, 1, &s->err);
    s->on_device = s->dev->ops->alloc(s->dev, bytes, &s->err);
    ck_assert_msg(s->err.code == LD_OK, "%s", s->err.text);
    for (size_t i = 0; i < bytes; i++)
        s->truth[i] = (unsigned char)ld_rng_u32(&rng);
    s->dev->ops->upload(s->dev, s->on_device, s->truth, bytes);
    return true;
}

static void close_store(struct store *s)
{
    s->dev->ops->release(s->dev, s->on_device);
    s->dev->ops->close(s->dev);
    ld_arena_free(&s->arena);
}

static void fetch(struct store *s, size_t at, size_t bytes)
{
    s->dev->ops->download(s->dev, s->back + at, s->on_device + at, bytes);
}

static void check(const struct store *s, size_t at, size_t bytes)
{
    ck_assert(memcmp(s->back + at, s->truth + at, bytes) == 0);
}

static bool reach(struct store *s, uint64_t mark)
{
    s->err = (struct ld_err){0};
    return s->dev->ops->reach(s->dev, mark, &s->err);
}

static bool sync_all(struct store *s)
{
    s->err = (struct ld_err){0};
    return s->dev->ops->sync(s->dev, &s->err);
}

/* Sizes from nothing to more than any staging; many at once, thrice over. */
START_TEST(downloads_of_any_size_are_there_after_sync)
{
    static const size_t sizes[] = {0,       1,       63,      700001,
                                   8388608, 8388609, 3000000, 40000000};
    struct store s;

    if (!open_store(&s, _i, 61000000))
        return;
    for (int round = 0; round < 3; round++) {
        size_t at = 0;

        memset(s.back, 0, s.bytes);
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            fetch(&s, at, sizes[i]);
            at += sizes[i];
        }
        ck_assert(sync_all(&s));
        check(&s, 0, at);
    }
    for (size_t i = 0; i < 2000; i++)
        fetch(&s, 40000000 + i, 1);
    ck_assert(sync_all(&s));
    check(&s, 40000000, 2000);
    close_store(&s);
}
END_TEST

START_TEST(what_is_before_a_mark_is_there_when_it_is_reached)
{
    enum { N = 50, BYTES = 3000017 };
    uint64_t mark[N];
    struct store s;

    if (!open_store(&s, _i, (size_t)N * BYTES))
        return;
    for (size_t i = 0; i < N; i++) {
        fetch(&s, i * BYTES, BYTES);
        mark[i] = s.dev->ops->mark(s.dev);
        if (i >= 2) { /* three are under way */
            ck_assert(reach(&s, mark[i - 2]));
            check(&s, (i - 2) * BYTES, BYTES);
        }
    }
    ck_assert(reach(&s, mark[N - 1]));
    check(&s, 0, s.bytes);

    memset(s.back, 0, s.bytes);
    for (size_t i = 0; i < N; i++) { /* or many are, and marks */
        fetch(&s, i * 1000, 1000);
        mark[i] = s.dev->ops->mark(s.dev);
    }
    for (size_t i = 0; i < N; i += 7) {
        ck_assert(reach(&s, mark[i]));
        check(&s, 0, (i + 1) * 1000);
    }
    ck_assert(reach(&s, mark[3]));
    ck_assert(sync_all(&s));
    check(&s, 0, N * 1000);
    close_store(&s);
}
END_TEST

/* Of a device that works while the host goes on. */
START_TEST(what_is_after_a_mark_is_not_waited_for)
{
    struct store s;
    uint64_t mark;

    if (!open_store(&s, _i, 2000))
        return;
    fetch(&s, 0, 1000);
    mark = s.dev->ops->mark(s.dev);
    fetch(&s, 1000, 1000);
    ck_assert(reach(&s, mark));
    check(&s, 0, 1000);
    if (strcmp(s.dev->ops->name, "cpu") != 0)
        for (int i = 1000; i < 2000; i++)
            ck_assert_int_eq(s.back[i], 0);
    ck_assert(sync_all(&s));
    check(&s, 1000, 1000);
    close_store(&s);
}
END_TEST

static void break_loss(struct store *s, struct ld_loss_terms *there)
{
    struct ld_loss_terms terms = {0};

    terms.value[LD_TERM_DFL][0] = NAN;
    s->dev->ops->upload(s->dev, there, &terms, sizeof(terms));
    s->dev->ops->loss_check(s->dev, there, 4);
}

START_TEST(a_fault_is_told_once_by_a_mark_behind_it)
{
    struct ld_loss_terms *there;
    struct store s;
    uint64_t before, behind, later;

    if (!open_store(&s, _i, 1))
        return;
    there = s.dev->ops->alloc(s.dev, sizeof(*there), &s.err);
    before = s.dev->ops->mark(s.dev);
    if (strcmp(s.dev->ops->name, "cpu") == 0) /* which is never behind */
        ck_assert(reach(&s, before));
    break_loss(&s, there);
    behind = s.dev->ops->mark(s.dev);
    later = s.dev->ops->mark(s.dev);
    if (strcmp(s.dev->ops->name, "cpu") != 0)
        ck_assert(reach(&s, before));
    ck_assert(!reach(&s, behind));
    ck_assert_int_eq(s.err.code, LD_ERR_NUMBER);
    ck_assert(strstr(s.err.text, "step 4: loss_dfl is not finite") != NULL);
    ck_assert(reach(&s, later));
    ck_assert(sync_all(&s));

    break_loss(&s, there);
    for (int i = 0; i < 40; i++) /* marks of which nobody waits for one */
        s.dev->ops->mark(s.dev);
    ck_assert(!sync_all(&s));
    ck_assert(sync_all(&s));
    s.dev->ops->release(s.dev, there);
    close_store(&s);
}
END_TEST

/* 1 moves to 0, unless the device holds a fault. */
START_TEST(a_fault_that_was_not_told_holds_the_optimizer_back)
{
    struct ld_sgd sgd = {.rate = 1, .step = 4};
    float one[3] = {1, 1, 1}, *x;
    struct ld_loss_terms *there;
    struct store s;

    if (!open_store(&s, _i, 1))
        return;
    there = s.dev->ops->alloc(s.dev, sizeof(*there), &s.err);
    x = s.dev->ops->alloc(s.dev, sizeof(one), &s.err);
    s.dev->ops->upload(s.dev, x, one, sizeof(one));
    break_loss(&s, there);
    for (int i = 0; i < 40; i++)
        s.dev->ops->mark(s.dev);
    s.dev->ops->sgd(s.dev, x, x + 1, x + 2, 1, sgd);
    ck_assert(!sync_all(&s));
    s.dev->ops->download(s.dev, one, x, sizeof(float));
    ck_assert(sync_all(&s));
    ck_assert_float_eq(one[0], 1);
    s.dev->ops->sgd(s.dev, x, x + 1, x + 2, 1, sgd);
    s.dev->ops->download(s.dev, one, x, sizeof(float));
    ck_assert(sync_all(&s));
    ck_assert_float_eq(one[0], 0);
    s.dev->ops->release(s.dev, there);
    s.dev->ops->release(s.dev, x);
    close_store(&s);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("memory");
    TCase *c = tcase_create("memory");

    tcase_add_loop_test(c, downloads_of_any_size_are_there_after_sync, 0, 2);
    tcase_add_loop_test(c, what_is_before_a_mark_is_there_when_it_is_reached, 0,
                        2);
    tcase_add_loop_test(c, what_is_after_a_mark_is_not_waited_for, 0, 2);
    tcase_add_loop_test(c, a_fault_is_told_once_by_a_mark_behind_it, 0, 2);
    tcase_add_loop_test(c, a_fault_that_was_not_told_holds_the_optimizer_back,
                        0, 2);
    suite_add_tcase(s, c);
    return s;
}
