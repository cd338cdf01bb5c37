/* tally.h - the losses of a run's steps, which stay on the device until someone
 * asks: fetching those of each step would make it wait for each. */
#pragma once

#include "kernels/ops.h"

enum { LD_TALLY_ROOM = 256 }; /* steps whose terms the device keeps */

struct ld_tally {
    struct ld_device *dev;
    struct ld_loss_terms *device, *host; /* (LD_TALLY_ROOM) */
    int n_waiting;                       /* of them, not yet read */
    struct ld_loss_terms sum;            /* over the steps that were read ... */
    int n_summed;                        /* ... since the last mean */
    double last;                         /* total of the last step read */
    bool any;                            /* there is one */
};

/* All zero is empty, and may be closed. */
bool ld_tally_open(struct ld_tally *tally, struct ld_device *dev,
                   struct ld_err *err);
void ld_tally_close(struct ld_tally *tally);

/* Where on the device the next step's terms belong. Reads first if there is no
 * room: NULL if that fails. */
struct ld_loss_terms *ld_tally_next(struct ld_tally *tally, struct ld_err *err);

/* Waits for the device and takes the terms of all steps so far. False with the
 * device's fault: a loss or a velocity that is not finite, and its step. */
bool ld_tally_read(struct ld_tally *tally, struct ld_err *err);

/* The mean over the steps read since the last call, at least one. */
struct ld_loss_terms ld_tally_mean(struct ld_tally *tally);
