/* Stands in for libcupti.so.13: keeps what the emulated device tells it of its
 * kernels and copies. Its clock has another beginning than the host's, and runs
 * faster by a hundredth. Records are longer than their types, as a newer
 * library's are. */
#include "tests/emulate/cupti.h"

#include <string.h>
#include <time.h>

enum { MOST_KINDS = 16, BEHIND = 24 };

static CUpti_BuffersCallbackRequestFunc request_buffer;
static CUpti_BuffersCallbackCompleteFunc complete_buffer;
static int enabled[MOST_KINDS];
static uint8_t *buffer; /* NULL: none is at hand */
static size_t buffer_size, buffer_used, n_dropped;

CUptiResult
cuptiActivityRegisterCallbacks(CUpti_BuffersCallbackRequestFunc request,
                               CUpti_BuffersCallbackCompleteFunc complete)
{
    request_buffer = request;
    complete_buffer = complete;
    return CUPTI_SUCCESS;
}

CUptiResult cuptiActivityEnable(CUpti_ActivityKind kind)
{
    enabled[kind] = 1;
    return CUPTI_SUCCESS;
}

CUptiResult cuptiActivityDisable(CUpti_ActivityKind kind)
{
    enabled[kind] = 0;
    return CUPTI_SUCCESS;
}

CUptiResult cuptiActivityFlushAll(uint32_t flag)
{
    (void)flag;
    if (buffer)
        complete_buffer(NULL, 0, buffer, buffer_size, buffer_used);
    buffer = NULL;
    return CUPTI_SUCCESS;
}

static size_t size_of(CUpti_ActivityKind kind)
{
    return BEHIND + (kind == CUPTI_ACTIVITY_KIND_MEMCPY
                         ? sizeof(CUpti_ActivityMemcpy4)
                     : kind == CUPTI_ACTIVITY_KIND_MEMSET
                         ? sizeof(CUpti_ActivityMemset3)
                         : sizeof(CUpti_ActivityKernel4));
}

CUptiResult cuptiActivityGetNextRecord(uint8_t *bytes, size_t used,
                                       CUpti_Activity **record)
{
    uint8_t *next =
        *record ? (uint8_t *)*record + size_of((*record)->kind) : bytes;

    if (next >= bytes + used)
        return CUPTI_ERROR_MAX_LIMIT_REACHED;
    *record = (CUpti_Activity *)(void *)next;
    return CUPTI_SUCCESS;
}

CUptiResult cuptiActivityGetNumDroppedRecords(CUcontext context,
                                              uint32_t stream, size_t *dropped)
{
    (void)context;
    (void)stream;
    *dropped = n_dropped;
    n_dropped = 0;
    return CUPTI_SUCCESS;
}

CUptiResult cuptiGetTimestamp(uint64_t *timestamp)
{
    struct timespec now;
    uint64_t ns;

    clock_gettime(CLOCK_MONOTONIC, &now);
    ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
    *timestamp = 1700000000000000000 + ns + ns / 100;
    return CUPTI_SUCCESS;
}

CUptiResult cuptiGetResultString(CUptiResult result, const char **text)
{
    *text = result == CUPTI_SUCCESS ? "CUPTI_SUCCESS" : "CUPTI_ERROR";
    return CUPTI_SUCCESS;
}

/* Room for a record; NULL: it is dropped. */
static void *new_record(CUpti_ActivityKind kind)
{
    size_t size = size_of(kind), most;
    void *record;

    if (buffer && buffer_used + size > buffer_size)
        cuptiActivityFlushAll(0);
    if (!buffer) {
        request_buffer(&buffer, &buffer_size, &most);
        buffer_used = 0;
    }
    if (!buffer || size > buffer_size) {
        n_dropped++;
        return NULL;
    }
    record = buffer + buffer_used;
    buffer_used += size;
    memset(record, 0xff, size);
    return record;
}

void emulate_note(CUpti_ActivityKind kind, int detail, const char *name,
                  uint64_t began)
{
    void *record = enabled[kind] ? new_record(kind) : NULL;
    uint64_t ended;

    cuptiGetTimestamp(&ended);
    if (!record)
        return;
    if (kind == CUPTI_ACTIVITY_KIND_MEMCPY)
        *(CUpti_ActivityMemcpy4 *)record =
            (CUpti_ActivityMemcpy4){kind, (uint8_t)detail, began, ended, 7};
    else if (kind == CUPTI_ACTIVITY_KIND_MEMSET)
        *(CUpti_ActivityMemset3 *)record =
            (CUpti_ActivityMemset3){kind, began, ended, 7};
    else
        *(CUpti_ActivityKernel4 *)record =
            (CUpti_ActivityKernel4){kind, began, ended, 7, name};
}
