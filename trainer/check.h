/* check.h - says what a config will train, before a week is spent on it. */
#pragma once

#include "formats/config.h"

/* Opens all that training would (data, student, teacher), so that what would
 * stop a run stops this too; takes a few steps that move nothing; prints model,
 * data, losses as they really count, sizes of the regions, memory and time. A
 * teacher whose cache is not named yet is left out, and said to be. With
 * teacher.checkpoint and data.val also the teacher's AP on a few images. */
bool ld_check_run(const struct ld_config *config, struct ld_err *err);
