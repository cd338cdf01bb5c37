#include "kernels/cuda/draw_cuda.h"

/* The numbers are kernels/canvas.c's bit for bit: what it says of rounding
 * holds here, and no product is fused with a sum. */
enum { ONE = 1 << 11, ROW_SHIFT = 4, COLUMN_SHIFT = 16 };

/* Where a scaled row or column lies between two of the picture's. */
struct blend {
    int first, second;
    int first_weight, second_weight; /* of ONE */
};

static __device__ struct blend blend_of(int i, int n_from, double scale,
                                        bool is_column)
{
    float place = (float)__dadd_rn(__dmul_rn((double)i + 0.5, scale), -0.5);
    int first = (int)floorf(place);
    float part = place - (float)first;

    if (is_column && (first < 0 || first >= n_from - 1))
        part = 0;
    return {max(first, 0), min(first + 1, n_from - 1),
            __float2int_rn((1 - part) * (float)ONE),
            __float2int_rn(part * (float)ONE)};
}

/* One byte of a row of the picture, stretched. */
static __device__ int stretched(const uint8_t *row, struct blend x, int c)
{
    return (row[3 * x.first + c] * x.first_weight +
            row[3 * x.second + c] * x.second_weight) >>
           ROW_SHIFT;
}

struct picture {
    const uint8_t *rgb;
    double scale_y, scale_x; /* picture by drawing */
};

/* A thread for each pixel of the canvas. */
static __global__ void draw_kernel(float *planes, struct picture from,
                                   struct ld_draw d, unsigned n)
{
    size_t i = ld_cuda_item();
    int y = (int)((unsigned)i / (unsigned)d.canvas_W);
    int x = (int)((unsigned)i % (unsigned)d.canvas_W);

    if (i >= n)
        return;
    if (y >= d.H || x >= d.W) {
        for (int c = 0; c < 3; c++)
            planes[c * (size_t)n + i] = 0;
        return;
    }
    struct blend down = blend_of(y, d.from_H, from.scale_y, false);
    struct blend along =
        blend_of(d.flipped ? d.W - 1 - x : x, d.from_W, from.scale_x, true);
    const uint8_t *top = from.rgb + (size_t)down.first * d.from_W * 3;
    const uint8_t *bottom = from.rgb + (size_t)down.second * d.from_W * 3;
    for (int c = 0; c < 3; c++) {
        int byte = d.bgr ? 2 - c : c;
        int value =
            ((stretched(top, along, byte) * down.first_weight >> COLUMN_SHIFT) +
             (stretched(bottom, along, byte) * down.second_weight >>
              COLUMN_SHIFT) +
             2) >>
            2;

        planes[c * (size_t)n + i] =
            __fdiv_rn((float)value - d.mean[c], d.std[c]);
    }
}

void ld_cuda_draw(struct ld_device *dev, float *planes, const uint8_t *rgb,
                  const struct ld_draw *d)
{
    unsigned n = (unsigned)d->canvas_H * (unsigned)d->canvas_W;
    struct picture from = {rgb, 1.0 / ((double)d->H / d->from_H),
                           1.0 / ((double)d->W / d->from_W)};

    launch_flat(ld_cuda_of(dev), draw_kernel, n, planes, from, *d, n);
}
