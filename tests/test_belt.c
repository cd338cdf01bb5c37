#include "kernels/base/belt.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "kernels/base/rng.h"
#include "tests/suite.h"

enum { FIRST, SECOND, THIRD, N_STAGES };
enum { N_PIECES = 5000, N_PLACES = 5, N_WORKERS = 8 };

/* Workers make pieces, the test adds to them, a last thread collects them. */
struct works {
    struct ld_belt *belt;
    int64_t places[N_PLACES];
    atomic_int next;
    int64_t collected[N_PIECES];
    int n_collected;
    int stop_at; /* what the last thread does not take */
};

/* Some pieces take longer than others. */
static void dawdle(int64_t piece)
{
    volatile uint64_t sum = 0;

    for (uint64_t i = ld_rng_hash(7, (uint64_t)piece, 0) % 3000; i > 0; i--)
        sum += i;
}

static void *make_pieces(void *context)
{
    struct works *w = context;
    int piece;

    while ((piece = atomic_fetch_add(&w->next, 1)) < N_PIECES) {
        dawdle(piece);
        if (!ld_belt_take(w->belt, FIRST, piece))
            break;
        w->places[piece % N_PLACES] = 3 * piece;
        ld_belt_pass(w->belt, piece);
    }
    return NULL;
}

static void *collect(void *context)
{
    struct works *w = context;

    for (int piece = 0; piece < w->stop_at; piece++) {
        if (!ld_belt_take(w->belt, THIRD, piece))
            return NULL;
        w->collected[w->n_collected++] = w->places[piece % N_PLACES];
        ld_belt_pass(w->belt, piece);
    }
    if (w->stop_at < N_PIECES)
        ld_belt_stop(w->belt);
    return NULL;
}

static void start(struct works *w, int stop_at)
{
    struct ld_err err = {0};

    memset(w, 0, sizeof(*w));
    w->stop_at = stop_at;
    w->belt = ld_belt_new(N_PLACES, N_STAGES, &err);
    ck_assert_ptr_nonnull(w->belt);
    ck_assert(ld_belt_start(w->belt, N_WORKERS, make_pieces, w, &err));
    ck_assert(ld_belt_start(w->belt, 1, collect, w, &err));
}

/* The second stage; returns how many it got. */
static int add_one(struct works *w)
{
    for (int piece = 0; piece < N_PIECES; piece++) {
        if (!ld_belt_take(w->belt, SECOND, piece))
            return piece;
        ck_assert(ld_belt_ready(w->belt, SECOND, piece));
        w->places[piece % N_PLACES]++;
        ld_belt_pass(w->belt, piece);
    }
    return N_PIECES;
}

START_TEST(pieces_pass_all_stages_in_order)
{
    static struct works w;

    start(&w, N_PIECES);
    ck_assert_int_eq(add_one(&w), N_PIECES);
    ld_belt_join(w.belt);
    ck_assert_int_eq(w.n_collected, N_PIECES);
    for (int i = 0; i < N_PIECES; i++)
        ck_assert_int_eq(w.collected[i], 3 * i + 1);
    ld_belt_free(w.belt);
}
END_TEST

START_TEST(a_place_is_free_again_after_the_last_stage_alone)
{
    struct ld_err err = {0};
    struct ld_belt *belt = ld_belt_new(2, 2, &err);

    ck_assert(ld_belt_take(belt, FIRST, 0));
    ck_assert(!ld_belt_ready(belt, SECOND, 0));
    ld_belt_pass(belt, 0);
    ck_assert(ld_belt_ready(belt, SECOND, 0));
    ck_assert(!ld_belt_ready(belt, FIRST, 2));
    ck_assert(ld_belt_ready(belt, FIRST, 1));
    ld_belt_pass(belt, 0);
    ck_assert(ld_belt_ready(belt, FIRST, 2));
    ck_assert(!ld_belt_ready(belt, SECOND, 2));
    ld_belt_free(belt);
}
END_TEST

START_TEST(a_stage_that_stops_the_belt_ends_all_others)
{
    static struct works w;
    int n;

    start(&w, N_PIECES / 3);
    n = add_one(&w);
    ck_assert_int_ge(n, N_PIECES / 3);
    ck_assert_int_le(n, N_PIECES / 3 + N_PLACES);
    ld_belt_join(w.belt);
    ck_assert_int_eq(w.n_collected, N_PIECES / 3);
    ck_assert(!ld_belt_take(w.belt, FIRST, 0));
    ld_belt_free(w.belt);
}
END_TEST

START_TEST(a_belt_that_is_freed_stops_its_threads)
{
    static struct works w;

    start(&w, N_PIECES); /* they wait for the second stage, which never comes */
    ld_belt_free(w.belt);
    ck_assert_int_eq(w.n_collected, 0);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("belt");
    TCase *c = tcase_create("belt");

    tcase_add_test(c, pieces_pass_all_stages_in_order);
    tcase_add_test(c, a_place_is_free_again_after_the_last_stage_alone);
    tcase_add_test(c, a_stage_that_stops_the_belt_ends_all_others);
    tcase_add_test(c, a_belt_that_is_freed_stops_its_threads);
    suite_add_tcase(s, c);
    return s;
}
