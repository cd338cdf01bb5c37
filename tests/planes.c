#include "tests/planes.h"

static void copy_planes(struct ld_device *dev, float *planes,
                        const uint8_t *bytes, const struct ld_draw *d)
{
    dev->ops->copy(dev, planes, bytes,
                   3 * (size_t)d->from_H * (size_t)d->from_W);
}

void planes_instead(struct ld_ops *ops, struct ld_device *dev)
{
    *ops = *dev->ops;
    ops->draw = copy_planes;
    dev->ops = ops;
}

void planes_show(struct ld_batch_image *image, const float *planes, int H,
                 int W)
{
    int wide = (int)sizeof(float) * W; /* pixels of 3 bytes */

    image->picture = (struct ld_image){(uint8_t *)planes, H, wide};
    image->draw = (struct ld_draw){.from_H = H,
                                   .from_W = wide,
                                   .H = H,
                                   .W = W,
                                   .canvas_H = H,
                                   .canvas_W = W};
}
