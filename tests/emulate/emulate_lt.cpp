/* Matrix products on the CPU: cublasLt.h beside this file says how. */
#include "cublasLt.h"
#include "cuda_bf16.h"
#include "cupti.h"
#include "emulate_tf32.h"

#include <cstdio>

struct emulate_lt {
    int unused;
};

struct emulate_matmul {
    cublasComputeType_t compute;
    int32_t turn_a, turn_b;
    uint32_t epilogue;
    const void *bias;
};

struct emulate_layout {
    cudaDataType type;
    uint64_t rows, columns;
    int64_t ld, stride;
    int32_t count;
};

struct emulate_preference {
    uint64_t workspace;
    uint32_t alignment[4], reductions;
};

namespace
{

enum { ALIGN = 16, WORKSPACE = 4096 };

void must(bool right, const char *what)
{
    if (right)
        return;
    fprintf(stderr, "emulated cuBLASLt: %s\n", what);
    abort();
}

template <typename T> T *made(T value)
{
    T *object = (T *)calloc(1, sizeof(T));

    must(object != NULL, "no memory");
    *object = value;
    return object;
}

template <typename T> void set(T *to, const void *value, size_t bytes)
{
    must(value != NULL && bytes == sizeof(T), "an attribute of another size");
    memcpy(to, value, bytes);
}

size_t size_of(cudaDataType type)
{
    return type == CUDA_R_16BF ? 2 : 4;
}

/* A product: sizes, and what the library would refuse. */
struct sizes {
    uint64_t m, n, k;
};

struct sizes sizes_of(const emulate_matmul *desc, const emulate_layout *a,
                      const emulate_layout *b, const emulate_layout *d)
{
    struct sizes s = {d->rows, d->columns, desc->turn_a ? a->rows : a->columns};

    must((desc->turn_a ? a->columns : a->rows) == s.m, "rows of A");
    must((desc->turn_b ? b->rows : b->columns) == s.n, "columns of B");
    must((desc->turn_b ? b->columns : b->rows) == s.k, "A's k is not B's");
    must(s.m > 0 && s.n > 0 && s.k > 0, "an empty product");
    return s;
}

void check_layout(const emulate_layout *l, const emulate_layout *d)
{
    must(l->ld >= (int64_t)l->rows, "a leading dimension below the rows");
    must(l->ld * size_of(l->type) % ALIGN == 0, "a leading dimension off 16");
    must(l->stride * size_of(l->type) % ALIGN == 0, "a batch stride off 16");
    must(l->count == d->count, "batches differ");
    must(l->count == 1 || l->stride > 0, "a batch without stride");
}

void check_types(const emulate_matmul *desc, const emulate_layout *a,
                 const emulate_layout *b, const emulate_layout *d)
{
    must(a->type == b->type, "A and B of two types");
    must(a->type == CUDA_R_16BF || d->type == CUDA_R_32F, "fp32 to bf16");
    must(desc->compute == CUBLAS_COMPUTE_32F || a->type == CUDA_R_32F,
         "tf32 of bf16 numbers");
    must(desc->epilogue == CUBLASLT_EPILOGUE_DEFAULT || a->type == d->type,
         "an epilogue from bf16 to fp32");
    must(desc->epilogue == CUBLASLT_EPILOGUE_DEFAULT || d->count == 1,
         "an epilogue of a batch");
}

/* What the library chose holds for this product alone. */
cublasLtMatmulAlgo_t algo_of(const emulate_matmul *desc,
                             const emulate_layout *a, const emulate_layout *b,
                             const emulate_layout *d)
{
    struct sizes s = sizes_of(desc, a, b, d);

    check_layout(a, d);
    check_layout(b, d);
    check_layout(d, d);
    check_types(desc, a, b, d);
    return cublasLtMatmulAlgo_t{
        {s.m, s.n, s.k, (uint64_t)(a->ld * 1000003 + b->ld),
         (uint64_t)(d->ld * 1000003 + d->count),
         (uint64_t)(desc->turn_a + 2 * desc->turn_b + 4 * desc->epilogue),
         (uint64_t)(a->type * 256 + d->type), desc->compute}};
}

/* ---- the product ---- */

double read(const void *data, cudaDataType type, int64_t at)
{
    return type == CUDA_R_16BF
               ? __bfloat162float(((const __nv_bfloat16 *)data)[at])
               : ((const float *)data)[at];
}

void write(void *data, cudaDataType type, int64_t at, double value)
{
    if (type == CUDA_R_16BF)
        ((__nv_bfloat16 *)data)[at] = __float2bfloat16((float)value);
    else
        ((float *)data)[at] = (float)value;
}

struct operands {
    const emulate_matmul *desc;
    const emulate_layout *a, *b, *d;
    const void *a_data, *b_data, *c_data;
    void *d_data;
    float alpha, beta;
};

/* Row i of op(X), of `n` numbers, in double; `turn` says that a column of X is
 * a row of op(X). */
void unpack(double *to, const struct operands *o, const void *data,
            const emulate_layout *l, int64_t first, uint64_t i, uint64_t n,
            bool turn)
{
    bool cut = o->desc->compute == CUBLAS_COMPUTE_32F_FAST_TF32;

    for (uint64_t j = 0; j < n; j++) {
        double x =
            read(data, l->type,
                 first + (int64_t)(turn ? i * l->ld + j : j * l->ld + i));

        to[j] = cut ? emulate_tf32((float)x) : x;
    }
}

double finished(const struct operands *o, double sum, uint64_t row, int64_t at)
{
    uint32_t epilogue = o->desc->epilogue;

    sum *= o->alpha;
    if (o->beta != 0)
        sum += o->beta * read(o->c_data, o->d->type, at);
    if (epilogue & CUBLASLT_EPILOGUE_BIAS)
        sum += read(o->desc->bias, o->d->type, (int64_t)row);
    if ((epilogue & CUBLASLT_EPILOGUE_RELU) && !(sum > 0))
        sum = 0;
    return sum;
}

/* D's columns in fours: a sum over k of a column of op(A) times a number of
 * op(B). */
void multiply(const struct operands *o, int32_t batch)
{
    struct sizes s = sizes_of(o->desc, o->a, o->b, o->d);
    double *a = (double *)malloc(s.k * s.m * sizeof(double));
    double *b = (double *)malloc(s.k * sizeof(double));
    double *sum = (double *)malloc(s.m * sizeof(double));

    must(a && b && sum, "no memory");
    for (uint64_t k = 0; k < s.k; k++) /* (k, m) */
        unpack(a + k * s.m, o, o->a_data, o->a, batch * o->a->stride, k, s.m,
               !o->desc->turn_a);
    for (uint64_t j = 0; j < s.n; j++) {
        unpack(b, o, o->b_data, o->b, batch * o->b->stride, j, s.k,
               !o->desc->turn_b);
        memset(sum, 0, s.m * sizeof(double));
        for (uint64_t k = 0; k < s.k; k++)
            for (uint64_t i = 0; i < s.m; i++)
                sum[i] += a[k * s.m + i] * b[k];
        for (uint64_t i = 0; i < s.m; i++) {
            int64_t at = batch * o->d->stride + (int64_t)(j * o->d->ld + i);

            write(o->d_data, o->d->type, at, finished(o, sum[i], i, at));
        }
    }
    free(a);
    free(b);
    free(sum);
}

bool aligned(const void *pointer)
{
    return pointer != NULL && (uintptr_t)pointer % ALIGN == 0;
}

} // namespace

const char *cublasLtGetStatusString(cublasStatus_t status)
{
    return status == CUBLAS_STATUS_SUCCESS         ? "success"
           : status == CUBLAS_STATUS_INVALID_VALUE ? "invalid value"
                                                   : "not supported";
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle)
{
    *handle = made(emulate_lt{});
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
    free(handle);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *desc,
                                        cublasComputeType_t compute,
                                        cudaDataType_t scale)
{
    must(scale == CUDA_R_32F, "a scale that is not fp32");
    *desc =
        made(emulate_matmul{compute, 0, 0, CUBLASLT_EPILOGUE_DEFAULT, NULL});
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc)
{
    free(desc);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t
cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc,
                               cublasLtMatmulDescAttributes_t attribute,
                               const void *value, size_t bytes)
{
    if (attribute == CUBLASLT_MATMUL_DESC_TRANSA)
        set(&desc->turn_a, value, bytes);
    else if (attribute == CUBLASLT_MATMUL_DESC_TRANSB)
        set(&desc->turn_b, value, bytes);
    else if (attribute == CUBLASLT_MATMUL_DESC_EPILOGUE)
        set(&desc->epilogue, value, bytes);
    else
        set(&desc->bias, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *layout,
                                          cudaDataType type, uint64_t rows,
                                          uint64_t columns, int64_t ld)
{
    *layout = made(emulate_layout{type, rows, columns, ld, 0, 1});
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout)
{
    free(layout);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t
cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                 cublasLtMatrixLayoutAttribute_t attribute,
                                 const void *value, size_t bytes)
{
    if (attribute == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT)
        set(&layout->count, value, bytes);
    else
        set(&layout->stride, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t
cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *preference)
{
    *preference = made(emulate_preference{
        0, {256, 256, 256, 256}, CUBLASLT_REDUCTION_SCHEME_MASK});
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t
cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference)
{
    free(preference);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(
    cublasLtMatmulPreference_t preference,
    cublasLtMatmulPreferenceAttributes_t attribute, const void *value,
    size_t bytes)
{
    if (attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES)
        set(&preference->workspace, value, bytes);
    else if (attribute == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK)
        set(&preference->reductions, value, bytes);
    else
        set(&preference->alignment[attribute -
                                   CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES],
            value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(
    cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
    cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
    cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
    cublasLtMatmulPreference_t preference, int most,
    cublasLtMatmulHeuristicResult_t *result, int *count)
{
    must(handle && most >= 1, "asked for nothing");
    must(c == d, "C is not D");
    must(preference->workspace >= WORKSPACE, "little workspace");
    for (uint32_t alignment : preference->alignment)
        must(alignment == ALIGN, "an alignment that is not promised");
    must(d->type == CUDA_R_32F ||
             preference->reductions == CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE,
         "parts of a sum in bf16");
    *result = cublasLtMatmulHeuristicResult_t{};
    result->algo = algo_of(desc, a, b, d);
    result->workspaceSize = WORKSPACE;
    /* The real one may have none: so has this, for some. */
    *count = desc->epilogue == CUBLASLT_EPILOGUE_DEFAULT || d->columns % 3;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t
cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
               const void *alpha, const void *a_data, cublasLtMatrixLayout_t a,
               const void *b_data, cublasLtMatrixLayout_t b, const void *beta,
               const void *c_data, cublasLtMatrixLayout_t c, void *d_data,
               cublasLtMatrixLayout_t d, const cublasLtMatmulAlgo_t *algo,
               void *workspace, size_t workspace_bytes, cudaStream_t stream)
{
    emulate_matmul as = *desc;
    emulate_layout of_a = *a, of_b = *b, of_d = *d;
    float by = *(const float *)alpha, keep = *(const float *)beta;
    cublasLtMatmulAlgo_t right = algo_of(desc, a, b, d);

    must(handle && c == d, "C lies as D does not");
    must(memcmp(algo, &right, sizeof(right)) == 0,
         "an algorithm chosen for another product");
    must(workspace_bytes >= WORKSPACE && aligned(workspace), "the workspace");
    must(aligned(a_data) && aligned(b_data) && aligned(c_data) &&
             aligned(d_data),
         "a matrix off 16 bytes");
    must(!(desc->epilogue & CUBLASLT_EPILOGUE_BIAS) || aligned(desc->bias),
         "a bias off 16 bytes");
    (void)emulate_enqueue(stream, [=]() {
        struct operands o = {&as,    &of_a,  &of_b,  &of_d, a_data,
                             b_data, c_data, d_data, by,    keep};
        emulate_activity activity(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL, 0,
                                  "emulated_product");

        memset(workspace, 0xff, WORKSPACE); /* all: half of a test's time */
        for (int32_t batch = 0; batch < of_d.count; batch++)
            multiply(&o, batch);
        return cudaSuccess;
    });
    return CUBLAS_STATUS_SUCCESS;
}
