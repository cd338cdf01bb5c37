#include "kernels/cuda/backend_cuda.h"

#include <stdio.h>

#include "kernels/cuda/conv_cuda.h"
#include "kernels/cuda/conv_cudnn.h"
#include "kernels/cuda/deform_cuda.h"
#include "kernels/cuda/draw_cuda.h"
#include "kernels/cuda/feature_cuda.h"
#include "kernels/cuda/fold.h"
#include "kernels/cuda/join.h"
#include "kernels/cuda/loss_cuda.h"
#include "kernels/cuda/map.h"
#include "kernels/cuda/memory.h"
#include "kernels/cuda/norm.h"
#include "kernels/cuda/pool.h"
#include "kernels/cuda/product.h"
#include "kernels/cuda/profile_cuda.h"
#include "kernels/cuda/quality_cuda.h"
#include "kernels/cuda/reduce_nccl.h"
#include "kernels/cuda/rows.h"
#include "kernels/cuda/sgd_cuda.h"
#include "kernels/cuda/tape.h"

extern "C" {
#include "kernels/base/mem.h"
}

static void close_device(struct ld_device *dev)
{
    struct ld_cuda *cuda = ld_cuda_of(dev);

    ld_cuda_math_close(cuda);
    ld_cuda_memory_close(cuda);
    if (cuda->stream)
        (void)cudaStreamDestroy(cuda->stream);
    ld_delete(cuda);
}

static const struct ld_ops cuda_ops = {
    .name = "cuda",
    .close = close_device,
    .alloc = ld_cuda_alloc,
    .release = ld_cuda_release,
    .upload = ld_cuda_upload,
    .download = ld_cuda_download,
    .zero = ld_cuda_zero,
    .copy = ld_cuda_copy,
    .sync = ld_cuda_sync,
    .mark = ld_cuda_mark,
    .reach = ld_cuda_reach,
    .record = ld_cuda_record,
    .recorded = ld_cuda_recorded,
    .play = ld_cuda_play,
    .tape_free = ld_cuda_tape_free,
    .map_bytes = ld_cuda_map_bytes,
    .map_values = ld_cuda_map_values,
    .map_pack = ld_cuda_map_pack,
    .map_unpack = ld_cuda_map_unpack,
    .conv_new = ld_cuda_conv_new,
    .conv_free = ld_cuda_conv_free,
    .conv_scratch_bytes = ld_cuda_conv_scratch_bytes,
    .conv_weight_bytes = ld_cuda_conv_weight_bytes,
    .conv_pack = ld_cuda_conv_pack,
    .conv_forward = ld_cuda_conv_forward,
    .conv_backward_data = ld_cuda_conv_backward_data,
    .conv_backward_weights = ld_cuda_conv_backward_weights,
    .deform_new = ld_cuda_deform_new,
    .deform_free = ld_cuda_deform_free,
    .deform_scratch_bytes = ld_cuda_deform_scratch_bytes,
    .deform_weight_bytes = ld_cuda_deform_weight_bytes,
    .deform_pack = ld_cuda_deform_pack,
    .deform_forward = ld_cuda_deform_forward,
    .deform_backward = ld_cuda_deform_backward,
    .bn_fold = ld_cuda_bn_fold,
    .bn_unfold = ld_cuda_bn_unfold,
    .relu_backward = ld_cuda_relu_backward,
    .add = ld_cuda_add,
    .add_relu = ld_cuda_add_relu,
    .maxpool_forward = ld_cuda_maxpool_forward,
    .maxpool_backward = ld_cuda_maxpool_backward,
    .avgpool_forward = ld_cuda_avgpool_forward,
    .avgpool_backward = ld_cuda_avgpool_backward,
    .channels_copy = ld_cuda_channels_copy,
    .channels_add = ld_cuda_channels_add,
    .upsample_add = ld_cuda_upsample_add,
    .upsample_add_backward = ld_cuda_upsample_add_backward,
    .gn_relu_forward = ld_cuda_gn_relu_forward,
    .gn_relu_backward = ld_cuda_gn_relu_backward,
    .bn_train_forward = ld_cuda_bn_train_forward,
    .bn_train_backward = ld_cuda_bn_train_backward,
    .rows_forward = ld_cuda_rows_forward,
    .rows_backward = ld_cuda_rows_backward,
    .quality_forward = ld_cuda_quality_forward,
    .quality_backward = ld_cuda_quality_backward,
    .rows_gather = ld_cuda_rows_gather,
    .map_gather = ld_cuda_map_gather,
    .draw = ld_cuda_draw,
    .loss_weights = ld_cuda_loss_weights,
    .loss_run = ld_cuda_loss_run,
    .feature_loss = ld_cuda_feature_loss,
    .loss_check = ld_cuda_loss_check,
    .sgd = ld_cuda_sgd,
    .reducer_id = ld_cuda_reducer_id,
    .reducer_new = ld_cuda_reducer_new,
    .profile_start = ld_cuda_profile_start,
    .profile_stop = ld_cuda_profile_stop,
};

/* ---- opening ---- */

/* Compute capability 8.0: bf16 and tf32 products. */
enum { LEAST_MAJOR = 8 };

static bool find_gpu(int index, struct cudaDeviceProp *gpu, struct ld_err *err)
{
    int count = 0, driver = 0, runtime = 0;
    cudaError_t status = cudaGetDeviceCount(&count);

    if (status == cudaErrorInsufficientDriver) {
        (void)cudaDriverGetVersion(&driver);
        (void)cudaRuntimeGetVersion(&runtime);
        if (driver == 0)
            return ld_fail(err, LD_ERR_DEVICE,
                           "cuda: no NVIDIA driver on this machine");
        return ld_fail(err, LD_ERR_DEVICE,
                       "cuda: the driver serves CUDA %d.%d, this build needs "
                       "%d.%d: update the driver",
                       driver / 1000, driver % 1000 / 10, runtime / 1000,
                       runtime % 1000 / 10);
    }
    if (status != cudaSuccess || count == 0)
        return ld_fail(err, LD_ERR_DEVICE, "cuda: no GPU: %s",
                       status == cudaSuccess ? "the driver sees none"
                                             : cudaGetErrorString(status));
    index %= count;
    status = cudaGetDeviceProperties(gpu, index);
    if (status == cudaSuccess)
        status = cudaSetDevice(index);
    if (status != cudaSuccess)
        return ld_fail(err, LD_ERR_DEVICE, "cuda: GPU %d: %s", index,
                       cudaGetErrorString(status));
    return gpu->major >= LEAST_MAJOR ||
           ld_fail(err, LD_ERR_DEVICE,
                   "cuda: %s has compute capability %d.%d, expected 8.0 or "
                   "later",
                   gpu->name, gpu->major, gpu->minor);
}

static bool open_parts(struct ld_cuda *cuda, struct ld_err *err)
{
    cudaError_t status =
        cudaStreamCreateWithFlags(&cuda->stream, cudaStreamNonBlocking);

    if (status != cudaSuccess)
        return ld_fail(err, LD_ERR_DEVICE, "cuda: making a stream: %s",
                       cudaGetErrorString(status));
    return ld_cuda_memory_open(cuda, err) && ld_cuda_math_open(cuda, err);
}

static const char *precision_name(enum ld_precision precision)
{
    return precision == LD_PRECISION_BF16   ? "bf16"
           : precision == LD_PRECISION_FP32 ? "fp32"
                                            : "tf32";
}

/* fp32 does without cuDNN, whose products would be of tf32. */
static void describe(const struct ld_cuda *cuda, const char *gpu,
                     char note[200])
{
    const struct ld_cudnn *cudnn = cuda->math->cudnn;
    int version = cudnn ? ld_cudnn_version(cudnn) : 0;
    char with[40] = "";

    if (cudnn)
        snprintf(with, sizeof(with), ", cuDNN %d.%d", version / 10000,
                 version / 100 % 100);
    else if (cuda->precision != LD_PRECISION_FP32)
        snprintf(with, sizeof(with), ", without cuDNN: slower");
    snprintf(note, 200, "device: cuda, %.120s, %s%s", gpu,
             precision_name(cuda->precision), with);
}

struct ld_device *ld_cuda_open(const struct ld_device_options *options,
                               char note[200], struct ld_err *err)
{
    struct cudaDeviceProp gpu = {};
    struct ld_cuda *cuda;

    if (!find_gpu(options->index, &gpu, err))
        return NULL;
    cuda = (struct ld_cuda *)ld_new(1, sizeof(*cuda), err);
    if (!cuda)
        return NULL;
    cuda->device.ops = &cuda_ops;
    cuda->precision = options->precision == LD_PRECISION_AUTO
                          ? LD_PRECISION_TF32
                          : options->precision;
    cuda->n_processors = gpu.multiProcessorCount;
    if (!open_parts(cuda, err)) {
        close_device(&cuda->device);
        return NULL;
    }
    if (note)
        describe(cuda, gpu.name, note);
    return &cuda->device;
}
