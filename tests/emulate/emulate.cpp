/* Runs kernels on the CPU: cuda_runtime.h beside this file says how. */
#include "cuda_runtime.h"
#include "cupti.h"

#include <csetjmp>
#include <cstdio>
#include <ucontext.h>

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace
{

enum { MOST_THREADS = 1024, STACK_BYTES = 1 << 17, LANES = 32, WORD = 16 };

enum where { RUNNING, AT_BLOCK, AT_WARP, DONE };

/* A fibre lives for ever: it waits for a thread's work, does it, waits. */
struct fibre {
    jmp_buf here;
    bool made;
    char *stack;
};

struct thread {
    struct fibre *fibre; /* NULL: not begun, or done */
    enum where where;
    bool came;                   /* to the last shuffle of its warp */
    int turn;                    /* of the two buffers below */
    unsigned char word[2][WORD]; /* what this lane hands over */
};

struct fibre fibres[MOST_THREADS];
int free_fibres[MOST_THREADS], n_free = -1;
struct thread threads[MOST_THREADS];
int n_threads, current, n_waits;
jmp_buf scheduler;
void (*the_work)(void *);
void *the_task;
uint32_t shuffled = 1;

[[noreturn]] void give_up(const char *why)
{
    fprintf(stderr,
            "emulated kernel, block (%u, %u, %u) of (%u, %u, %u), thread %d of "
            "%d: %s\n",
            blockIdx.x, blockIdx.y, blockIdx.z, gridDim.x, gridDim.y, gridDim.z,
            current, n_threads, why);
    abort();
}

void leave(enum where where)
{
    struct thread *t = &threads[current];

    t->where = where;
    n_waits += where != DONE;
    if (_setjmp(t->fibre->here) == 0)
        _longjmp(scheduler, 1);
}

void live()
{
    for (;;) {
        the_work(the_task);
        leave(DONE);
    }
}

void make(struct fibre *f)
{
    static ucontext_t context, back;

    f->stack = (char *)malloc(STACK_BYTES);
    f->made = true;
    if (!f->stack || getcontext(&context) != 0)
        give_up("no memory for a fibre");
    context.uc_stack.ss_sp = f->stack;
    context.uc_stack.ss_size = STACK_BYTES;
    context.uc_link = NULL;
    makecontext(&context, live, 0);
    swapcontext(&back, &context);
}

struct fibre *take_fibre()
{
    if (n_free < 0)
        for (n_free = 0; n_free < MOST_THREADS; n_free++)
            free_fibres[n_free] = MOST_THREADS - 1 - n_free;
    return &fibres[free_fibres[--n_free]];
}

void resume(int i)
{
    struct thread *t = &threads[i];

    current = i;
    threadIdx.x = (unsigned)i % blockDim.x;
    threadIdx.y = (unsigned)i / blockDim.x % blockDim.y;
    threadIdx.z = (unsigned)i / blockDim.x / blockDim.y;
    t->where = RUNNING;
    if (!t->fibre)
        t->fibre = take_fibre();
    if (_setjmp(scheduler) == 0) {
        if (t->fibre->made)
            _longjmp(t->fibre->here, 1);
        make(t->fibre);
    }
    t = &threads[current];
    if (t->where == DONE) {
        free_fibres[n_free++] = (int)(t->fibre - fibres);
        t->fibre = NULL;
    }
}

uint32_t next_random()
{
    shuffled = shuffled * 1664525u + 1013904223u;
    return shuffled >> 8;
}

/* Whether all that are not done, of threads first to end, wait at `where`. */
bool all_at(int first, int end, enum where where)
{
    int waiting = 0;

    for (int i = first; i < end && i < n_threads; i++) {
        if (threads[i].where == RUNNING ||
            (threads[i].where != DONE && threads[i].where != where))
            return false;
        waiting += threads[i].where == where;
    }
    return waiting > 0;
}

/* Lets threads [first, end) run to where they next wait, from a random one on,
 * up or down. */
void run_some(int first, int end)
{
    int n = end - first, from = (int)(next_random() % (uint32_t)n);
    int step = next_random() % 2 ? 1 : n - 1;

    for (int k = 0; k < n; k++)
        if (threads[first + (from + k * step) % n].where != DONE)
            resume(first + (from + k * step) % n);
}

void run_block()
{
    memset(threads, 0, (size_t)n_threads * sizeof(*threads));
    n_waits = 0;
    run_some(0, n_threads);
    if (n_waits == 0)
        return;
    for (;;) {
        bool moved = false, block = all_at(0, n_threads, AT_BLOCK);

        for (int w = 0; !block && w < n_threads; w += LANES) {
            int end = w + LANES < n_threads ? w + LANES : n_threads;

            if (!all_at(w, end, AT_WARP))
                continue;
            for (int i = w; i < end; i++)
                threads[i].came = threads[i].where == AT_WARP;
            run_some(w, end);
            moved = true;
        }
        if (block)
            run_some(0, n_threads);
        else if (!moved)
            break;
    }
    for (int i = 0; i < n_threads; i++)
        if (threads[i].where != DONE)
            give_up("waits for threads that never come");
}

} // namespace

void __syncthreads()
{
    leave(AT_BLOCK);
}

int emulate_lane()
{
    return current % LANES;
}

void emulate_shuffle(void *value, size_t bytes, int from)
{
    struct thread *t = &threads[current];
    int turn = t->turn, other = current / LANES * LANES + from;

    if (bytes > WORD)
        give_up("a shuffle of more than 16 bytes");
    memcpy(t->word[turn], value, bytes);
    leave(AT_WARP);
    t->turn = !turn;
    if (other >= n_threads || !threads[other].came)
        give_up("a shuffle from a lane that is gone");
    memcpy(value, threads[other].word[turn], bytes);
}

namespace
{

/* Symbols of no kernels of ours, but of forms that those have. */
const char *some_symbol(const void *of)
{
    static const char *const symbols[] = {
        "_ZN12_GLOBAL__N_110sgd_kernelEPfS0_PKfm",
        "_Z11norm_kernelIfEvPT_PKS0_i",
        "sm90_xmma_fprop_implicit_gemm_bf16bf16_kernel",
    };

    return symbols[(uintptr_t)of / 16 % 3];
}

} // namespace

cudaError_t emulate_launch(dim3 grid, dim3 block, void (*work)(void *),
                           void *task)
{
    size_t n = (size_t)block.x * block.y * block.z;
    uint64_t blocks = (uint64_t)grid.x * grid.y * grid.z, from, step;

    if (n < 1 || n > MOST_THREADS || blocks < 1 || grid.x > 0x7fffffffu ||
        grid.y > 0xffff || grid.z > 0xffff)
        return cudaErrorInvalidValue;
    emulate_activity activity(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL, 0,
                              some_symbol((void *)work));

    gridDim = grid;
    blockDim = block;
    n_threads = (int)n;
    the_work = work;
    the_task = task;
    from = next_random() % blocks;
    step = next_random() % 2 ? 1 : blocks - 1;
    for (uint64_t k = 0; k < blocks; k++) {
        uint64_t i = (from + k * step) % blocks;

        blockIdx.x = (unsigned)(i % grid.x);
        blockIdx.y = (unsigned)(i / grid.x % grid.y);
        blockIdx.z = (unsigned)(i / grid.x / grid.y);
        run_block();
    }
    return cudaSuccess;
}
