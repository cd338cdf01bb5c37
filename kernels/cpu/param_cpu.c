#include <float.h>
#include <math.h>

#include "kernels/base/parallel.h"
#include "kernels/cpu/cpu.h"
#include "kernels/fault.h"

enum { GRAIN = 16384 };

void ld_cpu_bn_fold(struct ld_device *dev, float *scale, float *shift,
                    const struct ld_bn *bn, int C)
{
    (void)dev;
    for (int c = 0; c < C; c++) {
        scale[c] = bn->gamma[c] / sqrtf(bn->var[c] + bn->eps);
        shift[c] = bn->beta[c] - bn->mean[c] * scale[c];
    }
}

struct unfold {
    float *dweight;
    const float *dfolded, *dshift, *weight;
    const struct ld_bn *bn;
    int n;
};

/* Adds to the row's dweight; returns <dfolded, weight>. */
static double unfold_row(float *dweight, const float *dfolded,
                         const float *weight, float scale, int n)
{
    double sum = 0;

    for (int i = 0; i < n; i++) {
        sum += (double)dfolded[i] * (double)weight[i];
        dweight[i] += dfolded[i] * scale;
    }
    return sum;
}

static void unfold_range(size_t begin, size_t end, void *task)
{
    const struct unfold *u = task;
    const struct ld_bn *bn = u->bn;
    size_t n = (size_t)u->n;

    for (size_t o = begin; o < end; o++) {
        float s = sqrtf(bn->var[o] + bn->eps);
        double dot = unfold_row(u->dweight + o * n, u->dfolded + o * n,
                                u->weight + o * n, bn->gamma[o] / s, u->n);

        if (bn->dgamma)
            bn->dgamma[o] +=
                (float)((dot - (double)bn->mean[o] * (double)u->dshift[o]) /
                        (double)s);
        if (bn->dbeta)
            bn->dbeta[o] += u->dshift[o];
    }
}

void ld_cpu_bn_unfold(struct ld_device *dev, float *dweight,
                      const float *dfolded, const float *dshift,
                      const float *weight, const struct ld_bn *bn, int O, int n)
{
    struct unfold u = {dweight, dfolded, dshift, weight, bn, n};

    (void)dev;
    ld_parallel((size_t)O, (size_t)(GRAIN / n + 1), unfold_range, &u);
}

struct step {
    float *param, *momentum;
    const float *grad;
    struct ld_sgd s;
    _Atomic bool broken; /* a velocity is not finite */
};

static void step_range(size_t begin, size_t end, void *task)
{
    struct step *t = task;
    struct ld_sgd s = t->s;
    int broken = 0;

    for (size_t i = begin; i < end; i++) {
        float v =
            s.momentum * t->momentum[i] + (t->grad[i] + s.decay * t->param[i]);

        t->momentum[i] = v;
        t->param[i] -= s.rate * v;
        broken |= !(fabsf(v) <= FLT_MAX); /* a NaN, too */
    }
    if (broken)
        t->broken = true;
}

/* A convolution's ReLU turns NaN into 0 (the library's does), so that a broken
 * parameter could hide from the loss for good: it is caught here. */
void ld_cpu_sgd(struct ld_device *dev, float *param, float *momentum,
                const float *grad, size_t count, struct ld_sgd s)
{
    struct step t = {param, momentum, grad, s, false};
    struct ld_err *fault = &ld_cpu_of(dev)->fault;

    if (fault->code != LD_OK)
        return;
    ld_parallel(count, GRAIN, step_range, &t);
    if (t.broken)
        ld_velocity_fault(fault, s.step);
}
