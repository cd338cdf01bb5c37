/* tensor.h - a named dense row-major array of float, and the letters of axes.
 *
 * One letter names one axis, everywhere:
 *   N images in a batch    C channels     H, W rows and columns
 *   A locations of all levels   K classes   B bins a box side (reg_max + 1) */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

enum { LD_MAX_DIMS = 4 };

struct ld_tensor {
    const char *name; /* "backbone.layer1.0.conv1.weight" */
    float *data;      /* borrowed */
    int n_dims;       /* 0: a scalar, one number */
    int dim[LD_MAX_DIMS];
};

static inline size_t ld_tensor_count(const struct ld_tensor *t)
{
    size_t count = 1;

    for (int i = 0; i < t->n_dims; i++)
        count *= (size_t)t->dim[i];
    return count;
}

/* The first of that name, or NULL. */
static inline const struct ld_tensor *
ld_tensor_find(const struct ld_tensor *tensors, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (strcmp(tensors[i].name, name) == 0)
            return &tensors[i];
    return NULL;
}

static inline bool ld_tensor_same_shape(const struct ld_tensor *a,
                                        const struct ld_tensor *b)
{
    return a->n_dims == b->n_dims &&
           memcmp(a->dim, b->dim, (size_t)a->n_dims * sizeof(a->dim[0])) == 0;
}
