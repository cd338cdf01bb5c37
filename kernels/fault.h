/* fault.h - what a device says of numbers that are not finite. */
#pragma once

#include <stdint.h>

#include "kernels/base/error.h"
#include "kernels/loss.h"

/* LD_ERR_NUMBER: a loss term of step `step` (counted from 1) is not finite.
 * Return false. */
bool ld_loss_fault(struct ld_err *err, enum ld_term term, int64_t step);

/* LD_ERR_NUMBER: a velocity of the optimizer is not finite in that step. */
bool ld_velocity_fault(struct ld_err *err, int64_t step);
