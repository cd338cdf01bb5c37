/* cupti.h - stands in for CUPTI's own: what profile_cupti.cu uses of it, and
 * cupti.c beside this file fills in. Numbers and names are CUPTI's. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define CUPTIAPI

typedef struct emulate_context *CUcontext;

typedef enum {
    CUPTI_SUCCESS = 0,
    CUPTI_ERROR_INVALID_PARAMETER = 1,
    CUPTI_ERROR_MAX_LIMIT_REACHED = 12,
} CUptiResult;

typedef enum {
    CUPTI_ACTIVITY_KIND_INVALID = 0,
    CUPTI_ACTIVITY_KIND_MEMCPY = 1,
    CUPTI_ACTIVITY_KIND_MEMSET = 2,
    CUPTI_ACTIVITY_KIND_KERNEL = 3,
    CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL = 10,
} CUpti_ActivityKind;

typedef enum {
    CUPTI_ACTIVITY_MEMCPY_KIND_HTOD = 1,
    CUPTI_ACTIVITY_MEMCPY_KIND_DTOH = 2,
    CUPTI_ACTIVITY_MEMCPY_KIND_DTOD = 8,
} CUpti_ActivityMemcpyKind;

enum { CUPTI_ACTIVITY_FLAG_FLUSH_FORCED = 1 };

typedef struct {
    CUpti_ActivityKind kind;
} CUpti_Activity;

typedef struct {
    CUpti_ActivityKind kind;
    uint64_t start, end;
    uint32_t streamId;
    const char *name;
} CUpti_ActivityKernel4;

typedef struct {
    CUpti_ActivityKind kind;
    uint8_t copyKind;
    uint64_t start, end;
    uint32_t streamId;
} CUpti_ActivityMemcpy4;

typedef struct {
    CUpti_ActivityKind kind;
    uint64_t start, end;
    uint32_t streamId;
} CUpti_ActivityMemset3;

typedef void (*CUpti_BuffersCallbackRequestFunc)(uint8_t **buffer, size_t *size,
                                                 size_t *most_records);
typedef void (*CUpti_BuffersCallbackCompleteFunc)(CUcontext context,
                                                  uint32_t stream,
                                                  uint8_t *buffer, size_t size,
                                                  size_t used);

CUptiResult
cuptiActivityRegisterCallbacks(CUpti_BuffersCallbackRequestFunc request,
                               CUpti_BuffersCallbackCompleteFunc complete);
CUptiResult cuptiActivityEnable(CUpti_ActivityKind kind);
CUptiResult cuptiActivityDisable(CUpti_ActivityKind kind);
CUptiResult cuptiActivityFlushAll(uint32_t flag);
CUptiResult cuptiActivityGetNextRecord(uint8_t *buffer, size_t used,
                                       CUpti_Activity **record);
CUptiResult cuptiActivityGetNumDroppedRecords(CUcontext context,
                                              uint32_t stream, size_t *dropped);
CUptiResult cuptiGetTimestamp(uint64_t *timestamp);
CUptiResult cuptiGetResultString(CUptiResult result, const char **text);

/* Takes down what the emulated device has done from `began` until now. Of a
 * copy `detail` is its kind, of a kernel `name` is kept. */
void emulate_note(CUpti_ActivityKind kind, int detail, const char *name,
                  uint64_t began);
