#include "kernels/cuda/tape.h"

extern "C" {
#include "kernels/base/mem.h"
}

struct ld_tape {
    cudaGraphExec_t exec;
};

/* Not with a fault of the device's waiting: what goes wrong from here on is the
 * tape's own, and forgotten. */
bool ld_cuda_record(struct ld_device *dev)
{
    struct ld_cuda *cuda = ld_cuda_of(dev);

    return cuda->fault.code == LD_OK &&
           cudaStreamBeginCapture(
               cuda->stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess;
}

static struct ld_tape *tape_of(cudaGraph_t graph)
{
    struct ld_err ignored = {};
    struct ld_tape *tape = (struct ld_tape *)ld_new(1, sizeof(*tape), &ignored);

    if (tape && cudaGraphInstantiate(&tape->exec, graph, 0) != cudaSuccess) {
        ld_delete(tape);
        tape = NULL;
    }
    return tape;
}

struct ld_tape *ld_cuda_recorded(struct ld_device *dev)
{
    struct ld_cuda *cuda = ld_cuda_of(dev);
    struct ld_tape *tape = NULL;
    cudaGraph_t graph = NULL;
    cudaError_t status = cudaStreamEndCapture(cuda->stream, &graph);

    if (status == cudaSuccess && cuda->fault.code == LD_OK)
        tape = tape_of(graph);
    if (graph)
        (void)cudaGraphDestroy(graph);
    cuda->fault = (struct ld_err){};
    (void)cudaGetLastError();
    return tape;
}

void ld_cuda_play(struct ld_device *dev, const struct ld_tape *tape)
{
    struct ld_cuda *cuda = ld_cuda_of(dev);

    ld_cuda_keep(cuda, cudaGraphLaunch(tape->exec, cuda->stream),
                 "starting a graph");
}

/* It may be under way. */
void ld_cuda_tape_free(struct ld_device *dev, struct ld_tape *tape)
{
    struct ld_cuda *cuda = ld_cuda_of(dev);

    ld_cuda_keep(cuda, cudaStreamSynchronize(cuda->stream),
                 "waiting for a graph");
    ld_cuda_keep(cuda, cudaGraphExecDestroy(tape->exec), "freeing a graph");
    ld_delete(tape);
}
