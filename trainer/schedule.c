#include "trainer/schedule.h"

double ld_schedule_base(const struct ld_config *config, int images)
{
    double rate = (double)config->train.lr;

    if (config->train.base_batch == 0)
        return rate;
    return rate * images / config->train.base_batch;
}

double ld_schedule_rate(const struct ld_config *config, int images,
                        int64_t epoch, int64_t step)
{
    double rate = ld_schedule_base(config, images);
    int warmup = config->train.warmup_steps;

    for (int i = 0; i < config->train.n_lr_steps; i++)
        if (epoch >= config->train.lr_steps[i])
            rate *= 0.1;
    if (step < warmup)
        rate *= 1 - (1 - (double)step / warmup) *
                        (1 - (double)config->train.warmup_ratio);
    return rate;
}
