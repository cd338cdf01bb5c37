/* made_checkpoint.h - a small checkpoint of every rank, made for tests. */
#pragma once

#include "formats/checkpoint.h"

enum { N_TENSORS = 5, N_MOMENTUM = 2 };

/* Its tensors are in the order of their names, as loading gives them. */
struct made_checkpoint {
    struct ld_checkpoint c;
    const char *classes[3];
    struct ld_tensor tensors[N_TENSORS], momentum[N_MOMENTUM];
    float values[400];
};

/* Values differ with `shift`. */
void checkpoint_make(struct made_checkpoint *m, float shift);

/* Saves; fails the test if that fails. */
void checkpoint_save_ok(const char *path, const struct ld_checkpoint *c);

/* Loads, compares, frees again: *equal says whether it is `want`, to the bit.
 * Returns what loading returned. */
bool checkpoint_is(const char *path, const struct ld_checkpoint *want,
                   bool *equal, struct ld_err *err);
