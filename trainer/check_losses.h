/* check_losses.h - the losses of a config as they really count, in words. */
#pragma once

#include "formats/config.h"

/* Prints a line for each loss (weight, temperature, over which locations, what
 * the sum is divided by) and what is worth a warning. `distils`: there is a
 * teacher. */
void ld_check_losses_print(const struct ld_config *config, int n_classes,
                           bool distils);
