#include "kernels/cuda/memory.h"

#include <stdio.h>
#include <string.h>

extern "C" {
#include "kernels/base/mem.h"
#include "kernels/fault.h"
}

/* Bytes go up through pinned memory, so that the caller may forget them at once
 * and the copy waits for nobody. The ring is cut into pieces; a piece is free
 * again when the GPU has passed the event behind its last copy. */
enum { N_PIECES = 8 };

static const size_t PIECE_BYTES = (size_t)8 << 20;

struct way_up {
    unsigned char *ring; /* (N_PIECES, PIECE_BYTES) */
    cudaEvent_t passed[N_PIECES];
    int piece;   /* the one that is filled now */
    size_t used; /* bytes of it */
};

/* Bytes come down through pinned memory too, so that the copy waits for nobody,
 * and go on to where they are wanted when somebody waits for a mark behind
 * them. A mark brings along what the alarm said there. */
enum { N_PARCELS = 256, N_MARKS = 16 };

static const size_t DOWN_BYTES = (size_t)32 << 20;

struct parcel {
    void *to;
    uint64_t at; /* where it begins, in bytes of all times: the ring's byte
                    at % DOWN_BYTES */
    size_t bytes;
    uint64_t mark; /* the first behind it */
};

struct way_down {
    unsigned char *ring;              /* (DOWN_BYTES) */
    uint64_t end;                     /* of the newest parcel; as its `at` */
    struct parcel parcels[N_PARCELS]; /* number i is at i % N_PARCELS */
    uint64_t n_sent, n_delivered;     /* parcels */
    cudaEvent_t marks[N_MARKS];       /* number i is at i % N_MARKS, from 1 */
    struct ld_cuda_alarm *alarms;     /* (N_MARKS) likewise; pinned */
    uint64_t n_marks, reached;        /* the newest; the last waited for */
    struct ld_cuda_alarm heard;       /* at the last that was waited for */
    uint64_t calm_from;               /* what earlier marks heard was told */
};

struct ld_cuda_staging {
    struct way_up up;
    struct way_down down;
};

void ld_cuda_keep(struct ld_cuda *cuda, cudaError_t status, const char *doing)
{
    if (status == cudaSuccess)
        return;
    ld_fail(&cuda->fault,
            status == cudaErrorMemoryAllocation ? LD_ERR_MEMORY : LD_ERR_DEVICE,
            "cuda: %s: %s", doing, cudaGetErrorString(status));
    (void)cudaGetLastError();
}

static bool pinned(void **memory, size_t bytes, struct ld_err *err)
{
    cudaError_t status = cudaMallocHost(memory, bytes);

    return status == cudaSuccess ||
           ld_fail(err, LD_ERR_MEMORY,
                   "cuda: %zu bytes of pinned host memory: %s", bytes,
                   cudaGetErrorString(status));
}

static bool make_events(cudaEvent_t *events, int n, struct ld_err *err)
{
    cudaError_t status = cudaSuccess;

    for (int i = 0; status == cudaSuccess && i < n; i++)
        status = cudaEventCreateWithFlags(&events[i], cudaEventDisableTiming);
    return status == cudaSuccess ||
           ld_fail(err, LD_ERR_DEVICE, "cuda: making an event: %s",
                   cudaGetErrorString(status));
}

bool ld_cuda_memory_open(struct ld_cuda *cuda, struct ld_err *err)
{
    struct ld_cuda_staging *s =
        (struct ld_cuda_staging *)ld_new(1, sizeof(*s), err);

    if (!s)
        return false;
    cuda->staging = s;
    if (!pinned((void **)&s->up.ring, N_PIECES * PIECE_BYTES, err) ||
        !pinned((void **)&s->down.ring, DOWN_BYTES, err) ||
        !pinned((void **)&s->down.alarms, N_MARKS * sizeof(*s->down.alarms),
                err) ||
        !make_events(s->up.passed, N_PIECES, err) ||
        !make_events(s->down.marks, N_MARKS, err))
        return false;
    cuda->alarm = (struct ld_cuda_alarm *)ld_cuda_alloc(
        &cuda->device, sizeof(*cuda->alarm), err);
    if (!cuda->alarm)
        return false;
    cuda->workspace = ld_cuda_alloc(&cuda->device, LD_CUDA_WORKSPACE, err);
    return cuda->workspace != NULL;
}

static void destroy_events(cudaEvent_t *events, int n)
{
    for (int i = 0; i < n; i++)
        if (events[i])
            (void)cudaEventDestroy(events[i]);
}

/* cudaFree waits for work under way, so none writes to what is freed then. */
void ld_cuda_memory_close(struct ld_cuda *cuda)
{
    struct ld_cuda_staging *s = cuda->staging;

    (void)cudaFree(cuda->alarm);
    (void)cudaFree(cuda->workspace);
    if (!s)
        return;
    destroy_events(s->up.passed, N_PIECES);
    destroy_events(s->down.marks, N_MARKS);
    (void)cudaFreeHost(s->up.ring);
    (void)cudaFreeHost(s->down.ring);
    (void)cudaFreeHost(s->down.alarms);
    ld_delete(s);
}

void *ld_cuda_alloc(struct ld_device *dev, size_t bytes, struct ld_err *err)
{
    void *memory = NULL;
    cudaError_t status = cudaMalloc(&memory, bytes ? bytes : 1);
    size_t left = 0, total = 0;

    if (status == cudaSuccess) {
        ld_cuda_zero(dev, memory, bytes);
        return memory;
    }
    (void)cudaGetLastError();
    (void)cudaMemGetInfo(&left, &total);
    if (status == cudaErrorMemoryAllocation)
        ld_fail(err, LD_ERR_MEMORY,
                "cuda: asked for %.1f MB of the GPU's memory, %.1f of %.1f MB "
                "are free: lower train.batch or the views' size, or choose "
                "precision bf16",
                1e-6 * (double)bytes, 1e-6 * (double)left,
                1e-6 * (double)total);
    else
        ld_fail(err, LD_ERR_DEVICE, "cuda: %zu bytes of the GPU's memory: %s",
                bytes, cudaGetErrorString(status));
    return NULL;
}

/* Work under way may still use it; cudaFree waits for that. */
void ld_cuda_release(struct ld_device *dev, void *memory)
{
    ld_cuda_keep(ld_cuda_of(dev), cudaFree(memory), "freeing memory");
}

/* ---- the way up ---- */

/* The next piece of the ring, once the GPU is through with what was in it. */
static void turn(struct ld_cuda *cuda)
{
    struct way_up *s = &cuda->staging->up;

    ld_cuda_keep(cuda, cudaEventRecord(s->passed[s->piece], cuda->stream),
                 "recording an event");
    s->piece = (s->piece + 1) % N_PIECES;
    s->used = 0;
    ld_cuda_keep(cuda, cudaEventSynchronize(s->passed[s->piece]),
                 "waiting for an upload");
}

void ld_cuda_upload(struct ld_device *dev, void *to, const void *from,
                    size_t bytes)
{
    struct ld_cuda *cuda = ld_cuda_of(dev);
    struct way_up *s = &cuda->staging->up;

    for (size_t at = 0; at < bytes;) {
        size_t room = PIECE_BYTES - s->used;
        size_t n = bytes - at < room ? bytes - at : room;
        unsigned char *place =
            s->ring + (size_t)s->piece * PIECE_BYTES + s->used;

        memcpy(place, (const unsigned char *)from + at, n);
        ld_cuda_keep(cuda,
                     cudaMemcpyAsync((unsigned char *)to + at, place, n,
                                     cudaMemcpyHostToDevice, cuda->stream),
                     "copying to the GPU");
        at += n;
        s->used += (n + 63) / 64 * 64;
        if (s->used >= PIECE_BYTES)
            turn(cuda);
    }
}

/* ---- the way down ---- */

/* Waits for a mark and delivers what was sent before it. */
static void wait_for(struct ld_cuda *cuda, uint64_t mark)
{
    struct way_down *d = &cuda->staging->down;
    cudaError_t status;

    if (mark <= d->reached)
        return;
    status = cudaEventSynchronize(d->marks[mark % N_MARKS]);
    ld_cuda_keep(cuda, status, "copying from the GPU");
    while (d->n_delivered < d->n_sent) {
        const struct parcel *p = &d->parcels[d->n_delivered % N_PARCELS];

        if (p->mark > mark)
            break;
        if (status == cudaSuccess)
            memcpy(p->to, d->ring + p->at % DOWN_BYTES, p->bytes);
        d->n_delivered++;
    }
    d->reached = mark;
    if (status == cudaSuccess && mark >= d->calm_from)
        d->heard = d->alarms[mark % N_MARKS];
}

uint64_t ld_cuda_mark(struct ld_device *dev)
{
    struct ld_cuda *cuda = ld_cuda_of(dev);
    struct way_down *d = &cuda->staging->down;
    uint64_t mark = d->n_marks + 1;

    if (mark > N_MARKS)
        wait_for(cuda, mark - N_MARKS); /* its event serves again */
    ld_cuda_keep(cuda,
                 cudaMemcpyAsync(&d->alarms[mark % N_MARKS], cuda->alarm,
                                 sizeof(*cuda->alarm), cudaMemcpyDeviceToHost,
                                 cuda->stream),
                 "copying from the GPU");
    ld_cuda_keep(cuda, cudaEventRecord(d->marks[mark % N_MARKS], cuda->stream),
                 "recording an event");
    d->n_marks = mark;
    return mark;
}

/* Where the next parcel of so many bytes begins; it lies in one piece. */
static uint64_t place_for(const struct way_down *d, size_t bytes)
{
    uint64_t left = DOWN_BYTES - d->end % DOWN_BYTES;

    return left < bytes ? d->end + left : d->end;
}

/* Whether it can go down beside what was sent and not delivered. */
static bool has_room(const struct way_down *d, size_t bytes)
{
    const struct parcel *oldest = &d->parcels[d->n_delivered % N_PARCELS];

    return d->n_delivered == d->n_sent ||
           (d->n_sent - d->n_delivered < N_PARCELS &&
            place_for(d, bytes) + bytes <= oldest->at + DOWN_BYTES);
}

static void send(struct ld_cuda *cuda, void *to, const void *from, size_t bytes)
{
    struct way_down *d = &cuda->staging->down;
    struct parcel *p = &d->parcels[d->n_sent % N_PARCELS];

    if (!has_room(d, bytes))
        wait_for(cuda, ld_cuda_mark(&cuda->device));
    *p = (struct parcel){to, place_for(d, bytes), bytes, d->n_marks + 1};
    ld_cuda_keep(cuda,
                 cudaMemcpyAsync(d->ring + p->at % DOWN_BYTES, from, bytes,
                                 cudaMemcpyDeviceToHost, cuda->stream),
                 "copying from the GPU");
    d->end = p->at + (bytes + 63) / 64 * 64;
    d->n_sent++;
}

void ld_cuda_download(struct ld_device *dev, void *to, const void *from,
                      size_t bytes)
{
    for (size_t at = 0; at < bytes;) {
        size_t n = bytes - at < PIECE_BYTES ? bytes - at : PIECE_BYTES;

        send(ld_cuda_of(dev), (unsigned char *)to + at,
             (const unsigned char *)from + at, n);
        at += n;
    }
}

/* The alarm stays raised until it is told: it holds the optimizer back. */
static bool tell_alarm(struct ld_cuda *cuda, struct ld_err *err)
{
    struct way_down *d = &cuda->staging->down;
    struct ld_cuda_alarm alarm = d->heard;

    d->heard = {};
    d->calm_from = d->n_marks + 1;
    ld_cuda_zero(&cuda->device, cuda->alarm, sizeof(*cuda->alarm));
    if (alarm.raised == LD_CUDA_LOSS)
        return ld_loss_fault(err, (enum ld_term)alarm.term, alarm.step);
    return ld_velocity_fault(err, alarm.step);
}

bool ld_cuda_reach(struct ld_device *dev, uint64_t mark, struct ld_err *err)
{
    struct ld_cuda *cuda = ld_cuda_of(dev);

    wait_for(cuda, mark);
    if (cuda->fault.code != LD_OK) {
        ld_fail(err, cuda->fault.code, "%s", cuda->fault.text);
        cuda->fault = {};
        return false;
    }
    return cuda->staging->down.heard.raised == LD_CUDA_CALM ||
           tell_alarm(cuda, err);
}

bool ld_cuda_sync(struct ld_device *dev, struct ld_err *err)
{
    return ld_cuda_reach(dev, ld_cuda_mark(dev), err);
}

/* ---- on the GPU ---- */

void ld_cuda_zero(struct ld_device *dev, void *memory, size_t bytes)
{
    struct ld_cuda *cuda = ld_cuda_of(dev);

    if (bytes)
        ld_cuda_keep(cuda, cudaMemsetAsync(memory, 0, bytes, cuda->stream),
                     "clearing memory");
}

void ld_cuda_copy(struct ld_device *dev, void *to, const void *from,
                  size_t bytes)
{
    struct ld_cuda *cuda = ld_cuda_of(dev);

    if (bytes)
        ld_cuda_keep(cuda,
                     cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice,
                                     cuda->stream),
                     "copying on the GPU");
}
