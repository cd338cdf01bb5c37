/* schedule.h - the learning rate of a step. */
#pragma once

#include <stdint.h>

#include "formats/config.h"

/* train.lr, scaled from train.base_batch images a step, if that is set, to
 * `images`, those of all ranks (spec training 4). */
double ld_schedule_base(const struct ld_config *config, int images);

/* The base rate, times 0.1 for each entry of train.lr_steps that `epoch` (from
 * 0) has reached, times the linear warm-up 1 - (1 - step / warmup_steps) * (1 -
 * warmup_ratio) while step (from 0, of all epochs) < warmup_steps. */
double ld_schedule_rate(const struct ld_config *config, int images,
                        int64_t epoch, int64_t step);
