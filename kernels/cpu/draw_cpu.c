#include "kernels/base/parallel.h"
#include "kernels/cpu/cpu.h"

enum { GRAIN = 64 }; /* rows */

struct draw {
    float *planes;
    const uint8_t *rgb;
    const struct ld_draw *d;
};

static void draw_range(size_t begin, size_t end, void *task)
{
    const struct draw *t = task;

    ld_draw_rows(t->planes, t->rgb, t->d, (int)begin, (int)end);
}

void ld_cpu_draw(struct ld_device *dev, float *planes, const uint8_t *rgb,
                 const struct ld_draw *d)
{
    struct draw t = {planes, rgb, d};

    (void)dev;
    ld_parallel((size_t)d->canvas_H, GRAIN, draw_range, &t);
}
