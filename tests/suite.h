/* suite.h - each tests/test_*.c defines suite(); tests/main.c runs it.
 *
 * tests/main.c prints a TAP line for each test and, last, "N passed, N failed,
 * N skipped" for scripts/test to add up. A test that
 * cannot run here says SKIP_TEST("why"), which is printed, once in a row: never
 * silent. The exit status is 77 where all were skipped. */
#pragma once

#include <check.h>

Suite *suite(void);

/* Ends the running test function as skipped, with the reason printed. */
#define SKIP_TEST(why)     \
    do {                   \
        note_skipped(why); \
        return;            \
    } while (0)

void note_skipped(const char *why);

/* The reason given last, of this test or one before; NULL: none yet. */
const char *last_skipped(void);
