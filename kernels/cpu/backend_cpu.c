#include "kernels/cpu/backend_cpu.h"

#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/base/parallel.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/loss_cpu.h"
#include "kernels/fault.h"

struct ld_planes ld_planes_of(const struct ld_device *dev,
                              struct ld_shape shape)
{
    int block = ((const struct ld_cpu *)dev)->block;
    int n_blocks = (shape.C + block - 1) / block;

    return (struct ld_planes){
        .block = block,
        .n_blocks = n_blocks,
        .floats = (size_t)shape.H * shape.W * block,
        .n = (size_t)shape.N * n_blocks,
    };
}

static size_t map_values(struct ld_device *dev, struct ld_shape shape)
{
    struct ld_planes p = ld_planes_of(dev, shape);

    return p.n * p.floats;
}

static size_t map_bytes(struct ld_device *dev, struct ld_shape shape)
{
    return map_values(dev, shape) * sizeof(float);
}

static void *alloc(struct ld_device *dev, size_t bytes, struct ld_err *err)
{
    (void)dev;
    return ld_new(bytes, 1, err);
}

static void release(struct ld_device *dev, void *memory)
{
    (void)dev;
    ld_delete(memory);
}

static void copy(struct ld_device *dev, void *to, const void *from,
                 size_t bytes)
{
    (void)dev;
    if (bytes)
        memcpy(to, from, bytes);
}

static void zero(struct ld_device *dev, void *memory, size_t bytes)
{
    (void)dev;
    if (bytes)
        memset(memory, 0, bytes);
}

static bool sync_device(struct ld_device *dev, struct ld_err *err)
{
    struct ld_cpu *cpu = ld_cpu_of(dev);

    if (cpu->fault.code == LD_OK)
        return true;
    ld_fail(err, cpu->fault.code, "%s", cpu->fault.text);
    cpu->fault = (struct ld_err){0};
    return false;
}

/* All is done when it was asked for. */
static uint64_t mark(struct ld_device *dev)
{
    (void)dev;
    return 0;
}

static bool reach(struct ld_device *dev, uint64_t at, struct ld_err *err)
{
    (void)at;
    return sync_device(dev, err);
}

static void loss_check(struct ld_device *dev, const struct ld_loss_terms *terms,
                       int64_t step)
{
    enum ld_term broken = ld_loss_broken(terms);

    if (broken != LD_N_TERMS)
        ld_loss_fault(&ld_cpu_of(dev)->fault, broken, step);
}

static void close_device(struct ld_device *dev)
{
    ld_dnn_close(ld_cpu_of(dev)->dnn);
    ld_delete(dev);
}

static const struct ld_ops cpu_ops = {
    .name = "cpu",
    .close = close_device,
    .alloc = alloc,
    .release = release,
    .upload = copy,
    .download = copy,
    .zero = zero,
    .copy = copy,
    .sync = sync_device,
    .mark = mark,
    .reach = reach,
    .map_bytes = map_bytes,
    .map_values = map_values,
    .map_pack = ld_cpu_map_pack,
    .map_unpack = ld_cpu_map_unpack,
    .conv_new = ld_cpu_conv_new,
    .conv_free = ld_cpu_conv_free,
    .conv_scratch_bytes = ld_cpu_conv_scratch_bytes,
    .conv_weight_bytes = ld_cpu_conv_weight_bytes,
    .conv_pack = ld_cpu_conv_pack,
    .conv_forward = ld_cpu_conv_forward,
    .conv_backward_data = ld_cpu_conv_backward_data,
    .conv_backward_weights = ld_cpu_conv_backward_weights,
    .deform_new = ld_cpu_deform_new,
    .deform_free = ld_cpu_deform_free,
    .deform_scratch_bytes = ld_cpu_deform_scratch_bytes,
    .deform_weight_bytes = ld_cpu_deform_weight_bytes,
    .deform_pack = ld_cpu_deform_pack,
    .deform_forward = ld_cpu_deform_forward,
    .deform_backward = ld_cpu_deform_backward,
    .bn_fold = ld_cpu_bn_fold,
    .bn_unfold = ld_cpu_bn_unfold,
    .relu_backward = ld_cpu_relu_backward,
    .add = ld_cpu_add,
    .add_relu = ld_cpu_add_relu,
    .maxpool_forward = ld_cpu_maxpool_forward,
    .maxpool_backward = ld_cpu_maxpool_backward,
    .avgpool_forward = ld_cpu_avgpool_forward,
    .avgpool_backward = ld_cpu_avgpool_backward,
    .channels_copy = ld_cpu_channels_copy,
    .channels_add = ld_cpu_channels_add,
    .upsample_add = ld_cpu_upsample_add,
    .upsample_add_backward = ld_cpu_upsample_add_backward,
    .gn_relu_forward = ld_cpu_gn_relu_forward,
    .gn_relu_backward = ld_cpu_gn_relu_backward,
    .bn_train_forward = ld_cpu_bn_train_forward,
    .bn_train_backward = ld_cpu_bn_train_backward,
    .rows_forward = ld_cpu_rows_forward,
    .rows_backward = ld_cpu_rows_backward,
    .quality_forward = ld_cpu_quality_forward,
    .quality_backward = ld_cpu_quality_backward,
    .rows_gather = ld_cpu_rows_gather,
    .map_gather = ld_cpu_map_gather,
    .draw = ld_cpu_draw,
    .loss_weights = ld_cpu_loss_weights,
    .loss_run = ld_cpu_loss_run,
    .feature_loss = ld_cpu_feature_loss,
    .loss_check = loss_check,
    .sgd = ld_cpu_sgd,
};

static int count_threads(const struct ld_device_options *options)
{
    int n = options->n_threads;

    if (n == 0)
        n = ld_cpu_count_cores() /
            (options->n_sharing ? options->n_sharing : 1);
    return n > 0 ? n : 1;
}

struct ld_device *ld_cpu_open(const struct ld_device_options *options,
                              struct ld_err *err)
{
    struct ld_cpu *cpu = ld_new(1, sizeof(*cpu), err);

    if (!cpu)
        return NULL;
    cpu->device.ops = &cpu_ops;
    cpu->block = ld_dnn_block();
    ld_parallel_set_threads(count_threads(options));
    cpu->dnn = ld_dnn_open(err);
    if (!cpu->dnn) {
        ld_delete(cpu);
        return NULL;
    }
    return &cpu->device;
}
