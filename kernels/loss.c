#include "kernels/loss.h"

#include <math.h>

bool ld_head_has_centerness(enum ld_head head)
{
    return head == LD_HEAD_ATSS || head == LD_HEAD_FCOS;
}

const char *ld_term_name(enum ld_term term)
{
    static const char *const name[LD_N_TERMS] = {
        [LD_TERM_QFL] = "loss_cls",
        [LD_TERM_BOX] = "loss_bbox",
        [LD_TERM_DFL] = "loss_dfl",
        [LD_TERM_LD] = "loss_ld",
        [LD_TERM_VLR] = "loss_ld_vlr",
        [LD_TERM_KD] = "loss_kd",
        [LD_TERM_VLR_KD] = "loss_kd_vlr",
        [LD_TERM_IM] = "loss_im",
        [LD_TERM_CENTERNESS] = "loss_centerness",
    };

    return name[term];
}

double ld_loss_term(const struct ld_loss_terms *terms, enum ld_term term)
{
    double sum = 0;

    for (int level = 0; level < LD_MAX_LEVELS; level++)
        sum += terms->value[term][level];
    return sum;
}

double ld_loss_total(const struct ld_loss_terms *terms)
{
    double sum = 0;

    for (int term = 0; term < LD_N_TERMS; term++)
        sum += ld_loss_term(terms, (enum ld_term)term);
    return sum;
}

enum ld_term ld_loss_broken(const struct ld_loss_terms *terms)
{
    int term = 0;

    while (term < LD_N_TERMS &&
           isfinite(ld_loss_term(terms, (enum ld_term)term)))
        term++;
    return (enum ld_term)term;
}
