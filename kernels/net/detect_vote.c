#include "kernels/net/detect_vote.h"

#include <math.h>

static const float EXPONENT = 0.8F, NEAR = 0.7F, WIDTH = 0.025F,
                   CLASS_PIXELS = 4000;

static struct ld_box moved(struct ld_box box, int class_index)
{
    float by = CLASS_PIXELS * (float)class_index;

    return (struct ld_box){box.x0 + by, box.y0 + by, box.x1 + by, box.y1 + by};
}

float ld_vote_overlap(struct ld_box a, struct ld_box b, int class_index)
{
    struct ld_box p = moved(a, class_index), q = moved(b, class_index);

    return ld_box_iou(p, q) - powf(ld_box_centre_gap(p, q), EXPONENT);
}

/* Most pairs of an image are apart, which the IoU tells without a power. */
bool ld_vote_suppresses(struct ld_box a, struct ld_box b, int class_index,
                        float limit)
{
    return ld_box_iou(moved(a, class_index), moved(b, class_index)) > limit &&
           ld_vote_overlap(a, b, class_index) > limit;
}

static void add(struct ld_vote *vote, struct ld_box box, double weight)
{
    vote->weight += weight;
    vote->x0 += weight * (double)box.x0;
    vote->y0 += weight * (double)box.y0;
    vote->x1 += weight * (double)box.x1;
    vote->y1 += weight * (double)box.y1;
}

struct ld_vote ld_vote_start(struct ld_box own, int class_index, float score)
{
    struct ld_vote vote = {.own = own, .class_index = class_index};

    add(&vote, own, (double)score);
    return vote;
}

void ld_vote_add(struct ld_vote *vote, struct ld_box other, float score)
{
    float away;

    if (!ld_vote_suppresses(vote->own, other, vote->class_index, NEAR))
        return;
    away = 1 - ld_vote_overlap(vote->own, other, vote->class_index);
    add(vote, other, (double)(score * expf(-away * away / WIDTH)));
}

struct ld_box ld_vote_result(const struct ld_vote *vote)
{
    return (struct ld_box){
        (float)(vote->x0 / vote->weight), (float)(vote->y0 / vote->weight),
        (float)(vote->x1 / vote->weight), (float)(vote->y1 / vote->weight)};
}
