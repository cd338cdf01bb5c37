#include "tests/parity.h"
#include "tests/suite.h"

enum { CASES = 16 };

static struct ld_draw any_drawing(struct parity *p)
{
    struct ld_draw d = {
        .from_H = 1 + parity_below(p, 60),
        .from_W = 1 + parity_below(p, 60),
        .H = 1 + parity_below(p, 90),
        .W = 1 + parity_below(p, 90),
        .flipped = parity_below(p, 2),
        .bgr = parity_below(p, 2),
        .mean = {123.675F, 116.28F, 103.53F},
        .std = {58.395F, 57.12F, 57.375F},
    };

    d.canvas_H = d.H + parity_below(p, 9);
    d.canvas_W = d.W + parity_below(p, 9);
    return d;
}

START_TEST(a_picture_is_drawn_in_the_same_bits)
{
    struct parity p;
    struct ld_draw d;
    struct twin rgb, planes;
    unsigned char *bytes;
    size_t n_bytes, n;

    /* The planes are fp32 in either precision. */
    if (!parity_open(&p, LD_PRECISION_FP32, (uint64_t)_i))
        return;
    d = any_drawing(&p);
    n_bytes = (size_t)d.from_H * (size_t)d.from_W * 3;
    n = (size_t)d.canvas_H * (size_t)d.canvas_W * 3;
    bytes = parity_host(&p, n_bytes, 1);
    for (size_t i = 0; i < n_bytes; i++)
        bytes[i] = (unsigned char)parity_below(&p, 256);
    rgb = parity_bytes(&p, bytes, n_bytes);
    planes = parity_floats(&p, parity_normal(&p, n), n);
    for (int i = 0; i < PARITY_DEVICES; i++)
        p.dev[i]->ops->draw(p.dev[i], planes.at[i], rgb.at[i], &d);
    parity_same_bytes(&p, "draw", planes, n * sizeof(float));
    parity_close(&p);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("parity of drawing");
    TCase *c = tcase_create("drawing");

    tcase_add_loop_test(c, a_picture_is_drawn_in_the_same_bits, 0, CASES);
    suite_add_tcase(s, c);
    return s;
}
