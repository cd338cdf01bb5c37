#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/emulated_kernels.h"
#include "tests/suite.h"

START_TEST(a_block_adds_up_what_its_threads_hold)
{
    double from[TRIED_THREADS], to[2] = {0, 0};

    for (int i = 0; i < TRIED_THREADS; i++)
        from[i] = i + 1;
    for (int i = 0; i < 20; i++) { /* each in another order of threads */
        to[1] = 0;
        tried_sum(to, from);
        ck_assert(to[0] == TRIED_THREADS * (TRIED_THREADS + 1) / 2);
        ck_assert(to[1] == TRIED_THREADS);
    }
}
END_TEST

START_TEST(every_thread_of_every_block_runs_once)
{
    int to[12 * 16] = {0};

    tried_numbers(to);
    for (int i = 0; i < 12 * 16; i++)
        ck_assert_int_eq(to[i], i);
}
END_TEST

/* Runs what ends the program in a child; fails the test unless its last words
 * have `why` among them. */
static void check_end(void (*run)(void), const char *why)
{
    int ends[2], status;
    char words[512] = "";
    pid_t child;

    ck_assert_int_eq(pipe(ends), 0);
    child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        run();
        _exit(0);
    }
    close(ends[1]);
    for (size_t at = 0; at < sizeof(words) - 1;) {
        ssize_t n = read(ends[0], words + at, sizeof(words) - 1 - at);

        if (n <= 0)
            break;
        at += (size_t)n;
    }
    close(ends[0]);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    ck_assert_msg(strstr(words, why) != NULL, "'%s'", words);
}

START_TEST(a_kernel_that_waits_for_ever_is_reported)
{
    check_end(tried_deadlock, "waits for threads that never come");
    check_end(tried_gone, "a shuffle from a lane that is gone");
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("emulate");
    TCase *c = tcase_create("emulate");

    tcase_add_test(c, a_block_adds_up_what_its_threads_hold);
    tcase_add_test(c, every_thread_of_every_block_runs_once);
    tcase_add_test(c, a_kernel_that_waits_for_ever_is_reported);
    suite_add_tcase(s, c);
    return s;
}
