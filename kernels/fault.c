#include "kernels/fault.h"

bool ld_loss_fault(struct ld_err *err, enum ld_term term, int64_t step)
{
    return ld_fail(err, LD_ERR_NUMBER,
                   "step %lld: %s is not finite: lower train.lr, lengthen "
                   "train.warmup_steps, or check the annotations",
                   (long long)step, ld_term_name(term));
}

bool ld_velocity_fault(struct ld_err *err, int64_t step)
{
    return ld_fail(err, LD_ERR_NUMBER,
                   "step %lld: a gradient or parameter is not finite: lower "
                   "train.lr, or lengthen train.warmup_steps",
                   (long long)step);
}
