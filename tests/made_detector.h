/* made_detector.h - a small detector whose every parameter says something, for
 * tests of what leaves the program. */
#pragma once

#include "tests/nets.h"
#include "trainer/export.h"

struct made_detector {
    struct ld_device *dev;
    struct ld_net *net; /* for inference, with the parameters of `e` */
    struct ld_export e; /* three classes; test.score 0.02 */
    const char *kind;   /* what it is, in words */
    struct ld_arena arena;
};

enum { DETECTOR_KINDS = 9 };

/* Kind 0 is tiny_model(). The parameters are those of no training, but scale
 * and shift as after one. */
void detector_make(struct made_detector *m, int kind);
void detector_free(struct made_detector *m);
