/* A build without cuDNN's header: convolutions are columns and cuBLASLt. */
#include "kernels/cuda/conv_cudnn.h"

struct ld_cudnn *ld_cudnn_open(const char *, cudaStream_t)
{
    return NULL;
}

void ld_cudnn_close(struct ld_cudnn *)
{
}

int ld_cudnn_version(const struct ld_cudnn *)
{
    return 0;
}

struct ld_cudnn_plan *ld_cudnn_plan_new(struct ld_cudnn *,
                                        const struct ld_cudnn_question *)
{
    return NULL;
}

void ld_cudnn_plan_free(struct ld_cudnn *, struct ld_cudnn_plan *)
{
}

size_t ld_cudnn_plan_workspace(const struct ld_cudnn_plan *)
{
    return 0;
}

bool ld_cudnn_plan_run(struct ld_cudnn *, const struct ld_cudnn_plan *,
                       const struct ld_cudnn_operands *, struct ld_err *err)
{
    return ld_fail(err, LD_ERR_DEVICE, "cuDNN: not in this build");
}
