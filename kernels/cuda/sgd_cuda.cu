#include "kernels/cuda/sgd_cuda.h"

#include "kernels/cuda/memory.h"

/* Four neighbours, read and written at once. */
struct alignas(16) four {
    float v[4];
};

/* Gives whether the velocity is a finite number. */
static __device__ __forceinline__ bool move(float *param, float *momentum,
                                            float grad, struct ld_sgd s)
{
    float v = s.momentum * *momentum + (grad + s.decay * *param);

    *momentum = v;
    *param -= s.rate * v;
    return fabsf(v) < INFINITY;
}

static __device__ void raise_alarm(struct ld_cuda_alarm *alarm, int64_t step)
{
    if (atomicCAS(&alarm->raised, (int)LD_CUDA_CALM, (int)LD_CUDA_VELOCITY) ==
        LD_CUDA_CALM)
        alarm->step = step;
}

/* Four numbers a thread; of the last thread those that are left. */
static __global__ void step_kernel(float *param, float *momentum,
                                   const float *grad, size_t count,
                                   struct ld_sgd s, struct ld_cuda_alarm *alarm,
                                   bool aligned)
{
    size_t at = 4 * ld_cuda_item();
    bool finite = true;

    if (at >= count || alarm->raised != LD_CUDA_CALM)
        return;
    if (aligned && at + 4 <= count) {
        struct four p = *(struct four *)(param + at);
        struct four m = *(struct four *)(momentum + at);
        struct four g = *(const struct four *)(grad + at);

        for (int i = 0; i < 4; i++)
            finite &= move(&p.v[i], &m.v[i], g.v[i], s);
        *(struct four *)(momentum + at) = m;
        *(struct four *)(param + at) = p;
    } else {
        for (size_t i = at; i < count && i < at + 4; i++)
            finite &= move(param + i, momentum + i, grad[i], s);
    }
    if (!finite)
        raise_alarm(alarm, s.step);
}

static bool aligned_to_four(const void *memory)
{
    return (uintptr_t)memory % sizeof(struct four) == 0;
}

void ld_cuda_sgd(struct ld_device *dev, float *param, float *momentum,
                 const float *grad, size_t count, struct ld_sgd s)
{
    struct ld_cuda *cuda = ld_cuda_of(dev);
    bool aligned = aligned_to_four(param) && aligned_to_four(momentum) &&
                   aligned_to_four(grad);

    launch_flat(cuda, step_kernel, (count + 3) / 4, param, momentum, grad,
                count, s, cuda->alarm, aligned);
}
