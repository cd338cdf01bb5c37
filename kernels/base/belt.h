/* belt.h - pieces of work that pass stages in order, several under way at once.
 *
 * Pieces are numbered from 0. Piece i lies in place i % n_places of an array of
 * the caller's, all the memory there is: a place is stage 0's first, then
 * belongs to one stage after the other, and after the last to stage 0 again,
 * for piece i + n_places. So a stage gets its pieces in order, also from one
 * whose threads work on several. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/error.h"

struct ld_belt;

struct ld_belt *ld_belt_new(int n_places, int n_stages, struct ld_err *err);

/* Stops it, joins its threads, frees it. NULL is fine. */
void ld_belt_free(struct ld_belt *belt);

/* Starts n threads that call work(context), which returns NULL, and does so
 * soon where the belt is stopped. LD_ERR_MEMORY; 64 threads at most. */
bool ld_belt_start(struct ld_belt *belt, int n, void *(*work)(void *context),
                   void *context, struct ld_err *err);

/* Waits until the threads have returned. */
void ld_belt_join(struct ld_belt *belt);

/* Waits until the piece is this stage's. False: the belt is stopped. */
bool ld_belt_take(struct ld_belt *belt, int stage, int64_t piece);

/* Whether it is now, or the belt is stopped. */
bool ld_belt_ready(struct ld_belt *belt, int stage, int64_t piece);

/* Hands a piece that was taken to the next stage. */
void ld_belt_pass(struct ld_belt *belt, int64_t piece);

/* Ends all waiting, now and later. */
void ld_belt_stop(struct ld_belt *belt);
