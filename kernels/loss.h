/* loss.h - what a loss reads, by which rules, and what it gives back.
 *
 *   total = QFL + 2 GIoU + 0.25 DFL + 0.25 LD + 0.25 VLR LD + 10 KD
 *
 * Sources: Li et al. 2020 (QFL, DFL), Li et al. 2021 (GFL V2: QFL of a
 * product of probabilities), Rezatofighi et al. 2019 (GIoU), Zheng et
 * al. 2022 (LD, VLR LD); normalisation as the authors' code does it.
 *
 * Heads of ATSS and FCOS (Tian et al. 2019) have the focal loss (Lin et al.
 * 2017) in place of QFL, and a centerness, which weighs the box loss.
 * RetinaNet's has the focal loss, a box loss that is a mean over positives, and
 * LD of an anchor's four sides as one distribution (as its authors code it). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "kernels/box.h"
#include "kernels/rules.h"

enum ld_validity {
    LD_INVALID, /* of the image's own canvas */
    LD_VALID,
    LD_IGNORED, /* by the class loss: between object and background */
};

/* What losses are divided by, of all images of all ranks, over the number of
 * ranks. */
enum {
    LD_SUM_POSITIVES, /* sum over images of max(positives, 1), of FCOS of the
                         positives; counts as 1 at least */
    LD_SUM_WEIGHT,    /* of loss_weights; 1e-6 is added to it */
    LD_N_SUMS,
};

/* One batch on the device. A row is one location of one image that a loss
 * reads: a positive (main region), a location of the VLR, or both. Rows stand
 * by rising `index`. */
struct ld_loss_batch {
    enum ld_head head; /* the student's: says which losses these are */
    int N, A, B;
    int K; /* class logits a row: the classes, and a background if the model has
              one: to the losses a class that is nowhere */
    struct ld_grid grid;       /* of the batch's canvas */
    const float *class_logits; /* (N, A, K) the student's */
    const float *box_logits;   /* (N, A, 4, B) */
    const float *quality;      /* (N, A) logits; scores are sigmoid(class)
                                  sigmoid(quality); of heads that have one
                                  centerness. NULL: GFL V1 */
    const uint8_t *valid;      /* (N, A) enum ld_validity */
    int n_rows;
    const int32_t *index;     /* (n_rows) image * A + location */
    const int32_t *label;     /* (n_rows) class of a positive, else -1 */
    const struct ld_box *box; /* (n_rows) pixels; of a positive */
    const float *vlr;         /* (n_rows) VLR value, 0 outside the VLR; of FCOS
                                 1, and the student's best score weighs the row */
    const float *teacher_box; /* (n_rows, 4, B) or NULL: no teacher */
    const float
        *teacher_class; /* (n_rows, teacher_K) or NULL; rows of positives
                           are read, of the VLR too if rules.vlr_kd > 0
                         */
    int teacher_K;      /* KD is over the first teacher_K <= K class logits */
    /* Instead of teacher_box and teacher_class, as a cache keeps them: whole
     * numbers of a step, which is the row's own (n_rows). Of a box (n_rows, B -
     * 1, 4), the bins after each side's first, which is 0, with the four sides
     * side by side; of RetinaNet (n_rows, 4 B - 1), those after the first of
     * all. Of classes (n_rows, teacher_K). NULL: none. */
    const int16_t *teacher_box_kept, *teacher_class_kept;
    const float *teacher_box_step, *teacher_class_step;
    double *sums; /* (LD_N_SUMS) the caller writes the positives,
                     loss_weights the weight; loss_run reads both */
};

enum ld_term {
    LD_TERM_QFL,
    LD_TERM_BOX,
    LD_TERM_DFL,
    LD_TERM_LD,
    LD_TERM_VLR,
    LD_TERM_KD,
    LD_TERM_VLR_KD,
    LD_TERM_IM,
    LD_TERM_CENTERNESS,
    LD_N_TERMS,
};

/* Weighted and normalised as they enter the total, by term and level. A term
 * with nothing to compare is exactly 0. */
struct ld_loss_terms {
    double value[LD_N_TERMS][LD_MAX_LEVELS];
};

/* Whether its quality rows are centerness, of the focal loss's heads. */
bool ld_head_has_centerness(enum ld_head head);

const char *ld_term_name(enum ld_term term); /* "loss_cls", "loss_ld", .. */
double ld_loss_total(const struct ld_loss_terms *terms);
double ld_loss_term(const struct ld_loss_terms *terms, enum ld_term term);

/* The first term that is not finite; LD_N_TERMS: there is none. */
enum ld_term ld_loss_broken(const struct ld_loss_terms *terms);
