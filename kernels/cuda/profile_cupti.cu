#include "kernels/cuda/profile_cuda.h"

#include <cstdio>
#include <cstring>
#include <cupti.h>
#include <dlfcn.h>
#include <pthread.h>

#include "kernels/cuda/kernel_name.h"

extern "C" {
#include "kernels/base/mem.h"
#include "kernels/base/trace.h"
}

enum { BUFFER_BYTES = 1 << 20 };

struct buffer {
    struct buffer *next;
    uint8_t *bytes;
    size_t used;
};

/* The same moment by CUPTI's clock and by ours. */
struct moment {
    uint64_t theirs;
    int64_t ours;
};

/* CUPTI's callbacks are given no context, so this is the plug-in's one: of the
 * device that is looked at. */
static struct watch {
    decltype(&cuptiActivityRegisterCallbacks) register_callbacks;
    decltype(&cuptiActivityEnable) enable;
    decltype(&cuptiActivityDisable) disable;
    decltype(&cuptiActivityFlushAll) flush;
    decltype(&cuptiActivityGetNextRecord) next_record;
    decltype(&cuptiActivityGetNumDroppedRecords) n_dropped;
    decltype(&cuptiGetTimestamp) timestamp;
    decltype(&cuptiGetResultString) error_text;
    struct moment began;
    struct buffer *full; /* newest first */
    bool out_of_memory;
} watch;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* of `full` */

/* Of these no field that is read has moved since CUDA 9, whatever has come
 * behind: the library's records may be newer. */
typedef CUpti_ActivityKernel4 kernel_record;
typedef CUpti_ActivityMemcpy4 copy_record;
typedef CUpti_ActivityMemset3 clear_record;

static const CUpti_ActivityKind kinds[] = {
    CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL,
    CUPTI_ACTIVITY_KIND_MEMCPY,
    CUPTI_ACTIVITY_KIND_MEMSET,
};

/* ---- the library ---- */

static bool find_functions(void *library, struct ld_err *err)
{
    const struct {
        const char *name;
        void *function;
    } all[] = {
        {"cuptiActivityRegisterCallbacks", &watch.register_callbacks},
        {"cuptiActivityEnable", &watch.enable},
        {"cuptiActivityDisable", &watch.disable},
        {"cuptiActivityFlushAll", &watch.flush},
        {"cuptiActivityGetNextRecord", &watch.next_record},
        {"cuptiActivityGetNumDroppedRecords", &watch.n_dropped},
        {"cuptiGetTimestamp", &watch.timestamp},
        {"cuptiGetResultString", &watch.error_text},
    };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        void *found = dlsym(library, all[i].name);

        if (!found)
            return ld_fail(err, LD_ERR_DEVICE, "cuda: CUPTI lacks %s",
                           all[i].name);
        memcpy(all[i].function, &found, sizeof(found));
    }
    return true;
}

/* The runtime's own first. The library stays open for the life of the
 * program. */
static bool open_cupti(struct ld_err *err)
{
    int version = 0;
    char own[32];
    const char *const names[] = {own, "libcupti.so.13", "libcupti.so.12",
                                 "libcupti.so"};
    void *library = NULL;

    (void)cudaRuntimeGetVersion(&version);
    snprintf(own, sizeof(own), "libcupti.so.%d", version / 1000);
    for (size_t i = 0; !library && i < sizeof(names) / sizeof(names[0]); i++)
        library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return ld_fail(err, LD_ERR_DEVICE,
                       "cuda: no CUPTI: %s (put the folder of %s into "
                       "LD_LIBRARY_PATH)",
                       dlerror(), own);
    return find_functions(library, err);
}

static bool check(CUptiResult status, const char *doing, struct ld_err *err)
{
    const char *text = "unknown";

    if (status == CUPTI_SUCCESS)
        return true;
    (void)watch.error_text(status, &text);
    return ld_fail(err, LD_ERR_DEVICE, "cuda: CUPTI: %s: %s", doing, text);
}

/* ---- buffers of records ---- */

static void CUPTIAPI want_buffer(uint8_t **bytes, size_t *size,
                                 size_t *most_records)
{
    struct ld_err ignored = {};

    *bytes = (uint8_t *)ld_new(BUFFER_BYTES, 1, &ignored);
    *size = *bytes ? BUFFER_BYTES : 0;
    *most_records = 0; /* what goes in */
}

/* CUPTI calls this from threads of its own, too. */
static void CUPTIAPI take_buffer(CUcontext, uint32_t, uint8_t *bytes, size_t,
                                 size_t used)
{
    struct ld_err ignored = {};
    struct buffer *b = (struct buffer *)ld_new(1, sizeof(*b), &ignored);

    pthread_mutex_lock(&mutex);
    if (b && used > 0) {
        *b = (struct buffer){watch.full, bytes, used};
        watch.full = b;
    } else {
        watch.out_of_memory |= !b;
        ld_delete(b);
        ld_delete(bytes);
    }
    pthread_mutex_unlock(&mutex);
}

/* ---- clocks ---- */

/* Of several tries that which took the shortest time. */
static bool look_at_clocks(struct moment *out, struct ld_err *err)
{
    int64_t shortest = INT64_MAX;

    for (int i = 0; i < 16; i++) {
        int64_t before = ld_clock(), after;
        uint64_t theirs;

        if (!check(watch.timestamp(&theirs), "its clock", err))
            return false;
        after = ld_clock();
        if (after - before >= shortest)
            continue;
        shortest = after - before;
        *out = (struct moment){theirs, before + shortest / 2};
    }
    return true;
}

/* Two moments tell how their clock runs by ours. */
static int64_t our_time(uint64_t theirs, const struct moment *a,
                        const struct moment *b)
{
    double rate = b->theirs == a->theirs
                      ? 1
                      : (double)(b->ours - a->ours) /
                            (double)(int64_t)(b->theirs - a->theirs);

    return a->ours +
           (int64_t)((double)(int64_t)(theirs - a->theirs) * rate + 0.5);
}

/* ---- records ---- */

static const char *copy_name(uint8_t kind)
{
    switch (kind) {
    case CUPTI_ACTIVITY_MEMCPY_KIND_HTOD:
        return "(copy to the GPU)";
    case CUPTI_ACTIVITY_MEMCPY_KIND_DTOH:
        return "(copy from the GPU)";
    default:
        return "(copy on the GPU)";
    }
}

/* Times are still CUPTI's. False: none of our kinds. */
static bool read_record(const CUpti_Activity *record, struct ld_activity *out,
                        char name[LD_KERNEL_NAME])
{
    const kernel_record *k = (const kernel_record *)record;
    const copy_record *c = (const copy_record *)record;
    const clear_record *s = (const clear_record *)record;

    switch (record->kind) {
    case CUPTI_ACTIVITY_KIND_KERNEL:
    case CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL:
        ld_kernel_name(name, k->name ? k->name : "(kernel without a name)");
        *out = (struct ld_activity){name, (int64_t)k->start, (int64_t)k->end,
                                    (int)k->streamId, true};
        return true;
    case CUPTI_ACTIVITY_KIND_MEMCPY:
        *out = (struct ld_activity){copy_name(c->copyKind), (int64_t)c->start,
                                    (int64_t)c->end, (int)c->streamId, false};
        return true;
    case CUPTI_ACTIVITY_KIND_MEMSET:
        *out = (struct ld_activity){"(clear)", (int64_t)s->start,
                                    (int64_t)s->end, (int)s->streamId, false};
        return true;
    default:
        return false;
    }
}

/* A record without times is of what had not ended. */
static void give_records(const struct buffer *b, const struct moment *ended,
                         ld_activity_fn *fn, void *context)
{
    CUpti_Activity *record = NULL;
    struct ld_activity activity;
    char name[LD_KERNEL_NAME];

    while (watch.next_record(b->bytes, b->used, &record) == CUPTI_SUCCESS) {
        if (!read_record(record, &activity, name) || activity.began == 0 ||
            activity.ended == 0)
            continue;
        activity.began =
            our_time((uint64_t)activity.began, &watch.began, ended);
        activity.ended =
            our_time((uint64_t)activity.ended, &watch.began, ended);
        fn(context, &activity);
    }
}

static void give_buffers(const struct moment *ended, ld_activity_fn *fn,
                         void *context)
{
    struct buffer *b;

    pthread_mutex_lock(&mutex);
    b = watch.full;
    watch.full = NULL;
    pthread_mutex_unlock(&mutex);
    while (b) {
        struct buffer *next = b->next;

        give_records(b, ended, fn, context);
        ld_delete(b->bytes);
        ld_delete(b);
        b = next;
    }
}

/* ---- the table ---- */

static void disable_all()
{
    for (CUpti_ActivityKind kind : kinds)
        (void)watch.disable(kind);
}

bool ld_cuda_profile_start(struct ld_device *, struct ld_err *err)
{
    bool ok = open_cupti(err) && look_at_clocks(&watch.began, err) &&
              check(watch.register_callbacks(want_buffer, take_buffer),
                    "registering", err);

    for (CUpti_ActivityKind kind : kinds)
        ok = ok && check(watch.enable(kind), "starting", err);
    if (!ok && watch.disable)
        disable_all();
    return ok;
}

bool ld_cuda_profile_stop(struct ld_device *dev, ld_activity_fn *fn,
                          void *context, struct ld_err *err)
{
    struct moment ended = {};
    size_t n_dropped = 0;
    bool ok;

    ld_cuda_keep(ld_cuda_of(dev),
                 cudaStreamSynchronize(ld_cuda_of(dev)->stream),
                 "waiting for the GPU");
    ok = look_at_clocks(&ended, err) &&
         check(watch.flush(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED), "the records",
               err) &&
         check(watch.n_dropped(NULL, 0, &n_dropped), "the records", err);
    disable_all();
    if (!ok)
        fn = [](void *, const struct ld_activity *) {};
    give_buffers(&ended, fn, context);
    if (ok && (n_dropped > 0 || watch.out_of_memory))
        ok = ld_fail(err, LD_ERR_DEVICE,
                     "cuda: CUPTI dropped some records (%zu at least)",
                     n_dropped);
    watch.out_of_memory = false;
    return ok;
}
