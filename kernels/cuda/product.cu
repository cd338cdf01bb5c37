#include "kernels/cuda/product.h"

#include "kernels/cuda/conv_cudnn.h"
#include "kernels/cuda/memory.h"

extern "C" {
#include "kernels/base/mem.h"
}

/* The size that NVIDIA advises for Hopper; and what we promise of pointers. */
static const uint64_t WORKSPACE_BYTES = (uint64_t)32 << 20;
static const uint32_t ALIGNMENT = 16;

struct ld_cuda_product {
    cublasLtMatmulDesc_t matmul;
    cublasLtMatrixLayout_t a, b, d;
    cublasLtMatmulAlgo_t algo;
    bool bias;
};

bool ld_cuda_math_open(struct ld_cuda *cuda, struct ld_err *err)
{
    struct ld_cuda_math *math =
        (struct ld_cuda_math *)ld_new(1, sizeof(*math), err);
    cublasStatus_t status;

    if (!math)
        return false;
    cuda->math = math;
    status = cublasLtCreate(&math->lt);
    if (status != CUBLAS_STATUS_SUCCESS)
        return ld_fail(err, LD_ERR_DEVICE, "cuda: opening cuBLASLt: %s",
                       cublasLtGetStatusString(status));
    math->workspace = ld_cuda_alloc(&cuda->device, WORKSPACE_BYTES, err);
    if (!math->workspace)
        return false;
    /* cuDNN's engines for fp32 round to tf32. */
    if (cuda->precision != LD_PRECISION_FP32)
        math->cudnn = ld_cudnn_open(NULL, cuda->stream);
    return true;
}

void ld_cuda_math_close(struct ld_cuda *cuda)
{
    struct ld_cuda_math *math = cuda->math;

    if (!math)
        return;
    ld_cudnn_close(math->cudnn);
    (void)cudaFree(math->workspace);
    if (math->lt)
        (void)cublasLtDestroy(math->lt);
    ld_delete(math);
}

/* ---- preparing ---- */

static cudaDataType type_of(const struct ld_cuda *cuda, bool to_float)
{
    return ld_cuda_is_bf16(cuda) && !to_float ? CUDA_R_16BF : CUDA_R_32F;
}

static cublasLtEpilogue_t epilogue_of(const struct ld_cuda_product_desc *desc)
{
    return desc->bias   ? desc->relu ? CUBLASLT_EPILOGUE_RELU_BIAS
                                     : CUBLASLT_EPILOGUE_BIAS
           : desc->relu ? CUBLASLT_EPILOGUE_RELU
                        : CUBLASLT_EPILOGUE_DEFAULT;
}

/* A matrix as it lies in memory. */
struct lying {
    cudaDataType type;
    size_t rows, columns;
    const struct ld_cuda_matrix *matrix;
    int32_t batch;
};

static cublasStatus_t make_layout(cublasLtMatrixLayout_t *layout,
                                  const struct lying *l)
{
    const struct ld_cuda_matrix *m = l->matrix;
    size_t rows = m->turned ? l->columns : l->rows;
    size_t columns = m->turned ? l->rows : l->columns;
    int64_t stride = (int64_t)m->stride;
    cublasStatus_t status = cublasLtMatrixLayoutCreate(layout, l->type, rows,
                                                       columns, (int64_t)m->ld);

    if (status != CUBLAS_STATUS_SUCCESS || l->batch == 1)
        return status;
    status = cublasLtMatrixLayoutSetAttribute(
        *layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &l->batch,
        sizeof(l->batch));
    if (status == CUBLAS_STATUS_SUCCESS)
        status = cublasLtMatrixLayoutSetAttribute(
            *layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride,
            sizeof(stride));
    return status;
}

static cublasStatus_t make_layouts(const struct ld_cuda *cuda,
                                   struct ld_cuda_product *p,
                                   const struct ld_cuda_product_desc *d)
{
    struct lying a = {type_of(cuda, false), d->m, d->k, &d->a, d->batch};
    struct lying b = {type_of(cuda, false), d->k, d->n, &d->b, d->batch};
    struct lying to = {type_of(cuda, d->to_float), d->m, d->n, &d->d, d->batch};
    cublasStatus_t status = make_layout(&p->a, &a);

    if (status == CUBLAS_STATUS_SUCCESS)
        status = make_layout(&p->b, &b);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = make_layout(&p->d, &to);
    return status;
}

static cublasStatus_t set(cublasLtMatmulDesc_t matmul,
                          cublasLtMatmulDescAttributes_t attribute,
                          const void *value, size_t bytes)
{
    return cublasLtMatmulDescSetAttribute(matmul, attribute, value, bytes);
}

/* The library looks at where the bias lies when it chooses: it is shown a place
 * that is aligned as every later one. */
static cublasStatus_t make_matmul(const struct ld_cuda *cuda,
                                  struct ld_cuda_product *p,
                                  const struct ld_cuda_product_desc *d)
{
    cublasComputeType_t compute = cuda->precision == LD_PRECISION_TF32
                                      ? CUBLAS_COMPUTE_32F_FAST_TF32
                                      : CUBLAS_COMPUTE_32F;
    int32_t turn_a = d->a.turned ? CUBLAS_OP_T : CUBLAS_OP_N;
    int32_t turn_b = d->b.turned ? CUBLAS_OP_T : CUBLAS_OP_N;
    uint32_t epilogue = epilogue_of(d);
    cublasStatus_t status =
        cublasLtMatmulDescCreate(&p->matmul, compute, CUDA_R_32F);

    if (status == CUBLAS_STATUS_SUCCESS)
        status = set(p->matmul, CUBLASLT_MATMUL_DESC_TRANSA, &turn_a,
                     sizeof(turn_a));
    if (status == CUBLAS_STATUS_SUCCESS)
        status = set(p->matmul, CUBLASLT_MATMUL_DESC_TRANSB, &turn_b,
                     sizeof(turn_b));
    if (status == CUBLAS_STATUS_SUCCESS)
        status = set(p->matmul, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue,
                     sizeof(epilogue));
    if (status == CUBLAS_STATUS_SUCCESS && d->bias)
        status = set(p->matmul, CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                     &cuda->math->workspace, sizeof(void *));
    return status;
}

/* Where k is split, the parts are added up in fp32: in place only where D is
 * that. */
static cublasStatus_t prefer(cublasLtMatmulPreference_t preference,
                             bool to_float)
{
    const uint32_t reductions =
        CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE |
        (to_float ? CUBLASLT_REDUCTION_SCHEME_INPLACE : 0);
    static const cublasLtMatmulPreferenceAttributes_t matrices[] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
    };
    cublasStatus_t status = cublasLtMatmulPreferenceSetAttribute(
        preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &WORKSPACE_BYTES,
        sizeof(WORKSPACE_BYTES));

    if (status == CUBLAS_STATUS_SUCCESS)
        status = cublasLtMatmulPreferenceSetAttribute(
            preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reductions,
            sizeof(reductions));
    for (int i = 0; i < 4 && status == CUBLAS_STATUS_SUCCESS; i++)
        status = cublasLtMatmulPreferenceSetAttribute(
            preference, matrices[i], &ALIGNMENT, sizeof(ALIGNMENT));
    return status;
}

static cublasStatus_t choose(const struct ld_cuda *cuda,
                             struct ld_cuda_product *p, bool to_float)
{
    cublasLtMatmulPreference_t preference = NULL;
    cublasLtMatmulHeuristicResult_t best = {};
    int found = 0;
    cublasStatus_t status = cublasLtMatmulPreferenceCreate(&preference);

    if (status == CUBLAS_STATUS_SUCCESS)
        status = prefer(preference, to_float);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = cublasLtMatmulAlgoGetHeuristic(cuda->math->lt, p->matmul, p->a,
                                                p->b, p->d, p->d, preference, 1,
                                                &best, &found);
    if (preference)
        (void)cublasLtMatmulPreferenceDestroy(preference);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = found ? best.state : CUBLAS_STATUS_NOT_SUPPORTED;
    p->algo = best.algo;
    return status;
}

struct ld_cuda_product *
ld_cuda_product_new(struct ld_cuda *cuda,
                    const struct ld_cuda_product_desc *desc, struct ld_err *err)
{
    struct ld_cuda_product *p =
        (struct ld_cuda_product *)ld_new(1, sizeof(*p), err);
    cublasStatus_t status;

    if (!p)
        return NULL;
    p->bias = desc->bias;
    status = make_layouts(cuda, p, desc);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = make_matmul(cuda, p, desc);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = choose(cuda, p, desc->to_float || !ld_cuda_is_bf16(cuda));
    if (status == CUBLAS_STATUS_SUCCESS)
        return p;
    ld_fail(err, LD_ERR_DEVICE,
            "cuBLASLt: %d products of (%zu, %zu) and (%zu, %zu): %s",
            desc->batch, desc->m, desc->k, desc->k, desc->n,
            cublasLtGetStatusString(status));
    ld_cuda_product_free(p);
    return NULL;
}

void ld_cuda_product_free(struct ld_cuda_product *product)
{
    if (!product)
        return;
    if (product->matmul)
        (void)cublasLtMatmulDescDestroy(product->matmul);
    if (product->a)
        (void)cublasLtMatrixLayoutDestroy(product->a);
    if (product->b)
        (void)cublasLtMatrixLayoutDestroy(product->b);
    if (product->d)
        (void)cublasLtMatrixLayoutDestroy(product->d);
    ld_delete(product);
}

/* ---- running ---- */

void ld_cuda_product_run(struct ld_cuda *cuda, const struct ld_cuda_product *p,
                         const struct ld_cuda_factors *f)
{
    float one = 1, beta = f->c ? 1 : 0;
    cublasStatus_t status = CUBLAS_STATUS_SUCCESS;

    if (p->bias)
        status = set(p->matmul, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &f->bias,
                     sizeof(f->bias));
    if (status == CUBLAS_STATUS_SUCCESS)
        status = cublasLtMatmul(cuda->math->lt, p->matmul, &one, f->a, p->a,
                                f->b, p->b, &beta, f->c ? f->c : f->d, p->d,
                                f->d, p->d, &p->algo, cuda->math->workspace,
                                WORKSPACE_BYTES, cuda->stream);
    if (status != CUBLAS_STATUS_SUCCESS)
        ld_fail(&cuda->fault, LD_ERR_DEVICE, "cuBLASLt: a matrix product: %s",
                cublasLtGetStatusString(status));
}
