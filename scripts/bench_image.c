/* bench_image.c - milliseconds a core needs to turn an image file into a
 * 1333x800 view: bench-image FILE... prints medians over the files, the best of
 * five rounds each. */
#include <stdio.h>
#include <stdlib.h>

#include "formats/image.h"
#include "formats/view.h"
#include "kernels/base/mem.h"
#include "kernels/base/progress.h"

enum { MAX_FILES = 1024, ROUNDS = 5 };

static const struct ld_view_rules rules = {
    .long_edge = 1333,
    .short_edge = 800,
    .divisor = 32,
    .mean = {123.675F, 116.28F, 103.53F},
    .std = {58.395F, 57.12F, 57.375F},
};

struct times {
    double decode[MAX_FILES], view[MAX_FILES], both[MAX_FILES]; /* seconds */
};

static double least(double a, double b)
{
    return a < b ? a : b;
}

static bool run(const char *path, struct times *times, int i,
                struct ld_buf *planes, struct ld_err *err)
{
    struct ld_image image = {0};
    double start = ld_seconds(), decoded, end;
    struct ld_view view;
    struct ld_draw draw;
    bool ok;

    if (!ld_image_read(path, &image, err))
        return false;
    decoded = ld_seconds();
    view = ld_view_of(&rules, image.H, image.W, i % 2 == 1);
    planes->len = 0;
    ld_buf_put(planes, NULL,
               sizeof(float) * 3 * (size_t)view.canvas_H * view.canvas_W);
    ok = ld_buf_ok(planes, err);
    draw = ld_view_draw(&view, &rules, image.H, image.W);
    if (ok)
        ld_draw_rows((float *)(void *)planes->data, image.rgb, &draw, 0,
                     view.canvas_H);
    end = ld_seconds();
    times->decode[i] = least(times->decode[i], decoded - start);
    times->view[i] = least(times->view[i], end - decoded);
    times->both[i] = least(times->both[i], end - start);
    ld_image_free(&image);
    return ok;
}

static int by_size(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static void report(const char *what, double *seconds, int n)
{
    qsort(seconds, (size_t)n, sizeof(*seconds), by_size);
    printf("%-14s median %.2f ms, worst %.2f ms\n", what, 1e3 * seconds[n / 2],
           1e3 * seconds[n - 1]);
}

int main(int argc, char **argv)
{
    static struct times times;
    struct ld_buf planes = {.max = 1U << 30};
    struct ld_err err = {0};
    int n = argc - 1 < MAX_FILES ? argc - 1 : MAX_FILES;
    bool ok =
        n > 0 || ld_fail(&err, LD_ERR_USAGE, "usage: bench-image FILE...");

    for (int i = 0; i < n; i++)
        times.decode[i] = times.view[i] = times.both[i] = 1e9;
    for (int round = 0; ok && round < ROUNDS; round++)
        for (int i = 0; ok && i < n; i++)
            ok = run(argv[1 + i], &times, i, &planes, &err);
    if (ok) {
        report("decode", times.decode, n);
        report("view 1333x800", times.view, n);
        report("both", times.both, n);
    } else {
        fprintf(stderr, "bench-image: %s\n", err.text);
    }
    ld_buf_free(&planes);
    return ok ? 0 : (int)err.code;
}
