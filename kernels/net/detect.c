#include "kernels/net/detect.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "kernels/net/detect_vote.h"

/* ---- the best of many, one by one ----
 *
 * A key holds a number to sort by above an item's 32-bit complement, so that
 * the largest key is the best item and, of equals, the lowest. A heap gives
 * the first few without sorting the rest, and leaves them behind it. */

struct heap {
    uint64_t *key;
    size_t n;
};

static uint64_t key_of(float value, uint32_t item)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof(bits));
    bits = bits & 0x80000000U ? ~bits : bits | 0x80000000U; /* as floats */
    return (uint64_t)bits << 32 | (uint32_t)~item;
}

static uint32_t key_item(uint64_t key)
{
    return ~(uint32_t)key;
}

static float key_value(uint64_t key)
{
    uint32_t bits = (uint32_t)(key >> 32);
    float value;

    bits = bits & 0x80000000U ? bits & 0x7FFFFFFFU : ~bits;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static void heap_sink(struct heap *heap, size_t at)
{
    uint64_t moved = heap->key[at];

    for (;;) {
        size_t child = 2 * at + 1;

        if (child >= heap->n)
            break;
        if (child + 1 < heap->n && heap->key[child + 1] > heap->key[child])
            child++;
        if (heap->key[child] <= moved)
            break;
        heap->key[at] = heap->key[child];
        at = child;
    }
    heap->key[at] = moved;
}

static void heap_make(struct heap *heap)
{
    for (size_t at = heap->n / 2; at-- > 0;)
        heap_sink(heap, at);
}

static uint64_t heap_take(struct heap *heap)
{
    uint64_t best = heap->key[0];

    heap->key[0] = heap->key[--heap->n];
    heap->key[heap->n] = best;
    if (heap->n > 0)
        heap_sink(heap, 0);
    return best;
}

/* ---- the locations that go on ---- */

struct places {
    size_t n;
    int32_t *location;  /* (n) */
    struct ld_box *box; /* (n) pixels of the image file */
};

static float best_logit(const float *logits, int K)
{
    float best = logits[0];

    for (int k = 1; k < K; k++)
        best = logits[k] > best ? logits[k] : best;
    return best;
}

static float sigmoid(float x)
{
    return 1 / (1 + expf(-x));
}

static const float *class_row(const struct ld_detect_input *in, int location)
{
    return in->class_logits + (size_t)location * (size_t)in->n_logits;
}

/* What the locations of a level are sorted by: rises with the best score. */
static float best_of(const struct ld_detect_input *in, int location)
{
    float best = best_logit(class_row(in, location), in->K);

    return in->quality ? sigmoid(best) * sigmoid(in->quality[location]) : best;
}

/* All locations of a level in their order, or its `limit` best by score. */
static bool places_add(struct places *places, const struct ld_detect_input *in,
                       int level, int limit, struct ld_arena *arena,
                       struct ld_err *err)
{
    int start = in->grid->start[level], end = in->grid->start[level + 1];
    struct heap heap = {0};

    if (end - start <= limit) {
        for (int a = start; a < end; a++)
            places->location[places->n++] = a;
        return true;
    }
    heap.key =
        ld_arena_new(arena, (size_t)(end - start), sizeof(*heap.key), err);
    if (!heap.key)
        return false;
    for (int a = start; a < end; a++)
        heap.key[heap.n++] = key_of(best_of(in, a), a);
    heap_make(&heap);
    for (int i = 0; i < limit; i++)
        places->location[places->n++] = (int32_t)key_item(heap_take(&heap));
    return true;
}

float ld_side_distance(const float *logits, int B)
{
    float top = best_logit(logits, B), sum = 0, moment = 0;

    for (int k = 0; k < B; k++) {
        float e = expf(logits[k] - top);

        sum += e;
        moment += (float)k * e;
    }
    return moment / sum;
}

static float clipped(float x, int end)
{
    return x < 0 ? 0 : x > (float)end ? (float)end : x;
}

static struct ld_box decoded(const struct ld_detect_input *in, int location)
{
    const float *r = in->box_logits + (size_t)location * 4 * (size_t)in->B;
    int level = ld_grid_level(in->grid, location);
    float stride = (float)in->grid->stride[level], side[4], x, y;

    for (int s = 0; s < 4; s++)
        side[s] = ld_side_distance(r + s * in->B, in->B) * stride;
    ld_grid_centre(in->grid, location, &x, &y);
    return (struct ld_box){clipped(x - side[0], in->W) / in->scale_x,
                           clipped(y - side[1], in->H) / in->scale_y,
                           clipped(x + side[2], in->W) / in->scale_x,
                           clipped(y + side[3], in->H) / in->scale_y};
}

static bool places_find(struct places *places, const struct ld_detect_input *in,
                        int per_level, struct ld_arena *arena,
                        struct ld_err *err)
{
    size_t A = (size_t)in->grid->start[in->grid->n_levels];

    places->location = ld_arena_new(arena, A, sizeof(*places->location), err);
    if (!places->location)
        return false;
    for (int level = 0; level < in->grid->n_levels; level++) {
        if (!places_add(places, in, level, per_level, arena, err))
            return false;
    }
    places->box = ld_arena_new(arena, places->n, sizeof(*places->box), err);
    if (!places->box)
        return false;
    for (size_t i = 0; i < places->n; i++)
        places->box[i] = decoded(in, places->location[i]);
    return true;
}

/* ---- candidates: a class at a place ---- */

static bool candidates_find(struct heap *heap, const struct places *places,
                            const struct ld_detect_input *in, float limit,
                            struct ld_arena *arena, struct ld_err *err)
{
    size_t K = (size_t)in->K;

    heap->key = ld_arena_new(arena, places->n * K, sizeof(*heap->key), err);
    if (!heap->key)
        return false;
    for (size_t i = 0; i < places->n; i++) {
        int location = places->location[i];
        const float *z = class_row(in, location);
        float quality = in->quality ? sigmoid(in->quality[location]) : 1;

        for (size_t k = 0; k < K; k++) {
            float p = sigmoid(z[k]), score = p * quality;

            if ((in->centerness ? p : score) > limit)
                heap->key[heap->n++] = key_of(score, (uint32_t)(i * K + k));
        }
    }
    heap_make(heap);
    return true;
}

static bool overlap(const struct ld_detect_rules *rules, struct ld_box a,
                    struct ld_box b, int class_index)
{
    return rules->nms == LD_NMS_VOTING
               ? ld_vote_suppresses(a, b, class_index, rules->iou_limit)
               : ld_box_iou(a, b) > rules->iou_limit;
}

static bool suppressed(const struct ld_detection *one,
                       const struct ld_detections *kept,
                       const struct ld_detect_rules *rules)
{
    for (int i = 0; i < kept->n; i++) {
        if (kept->items[i].class_index == one->class_index &&
            overlap(rules, kept->items[i].box, one->box, one->class_index))
            return true;
    }
    return false;
}

static struct ld_detection candidate(uint64_t key, const struct places *places,
                                     int K)
{
    return (struct ld_detection){
        .box = places->box[key_item(key) / (uint32_t)K],
        .score = key_value(key),
        .class_index = (int)(key_item(key) % (uint32_t)K),
    };
}

/* Once it is known which stay: every candidate that comes after one of its
 * class, staying or not, has a vote on its box. */
static void vote(struct ld_detection *one, uint64_t own, const uint64_t *key,
                 size_t n, const struct places *places, int K)
{
    struct ld_vote votes =
        ld_vote_start(one->box, one->class_index, one->score);

    for (size_t i = 0; i < n; i++) {
        uint32_t item = key_item(key[i]);

        if (key[i] < own && (int)(item % (uint32_t)K) == one->class_index)
            ld_vote_add(&votes, places->box[item / (uint32_t)K],
                        key_value(key[i]));
    }
    one->box = ld_vote_result(&votes);
}

bool ld_detect(struct ld_detections *out, const struct ld_detect_input *in,
               const struct ld_detect_rules *rules, struct ld_arena *arena,
               struct ld_err *err)
{
    struct places places = {0};
    struct heap heap = {0};
    size_t room, n_candidates;
    uint64_t *kept;

    *out = (struct ld_detections){0};
    if (!places_find(&places, in, rules->per_level, arena, err) ||
        !candidates_find(&heap, &places, in, rules->score_limit, arena, err))
        return false;
    n_candidates = heap.n;
    room =
        heap.n < (size_t)rules->per_image ? heap.n : (size_t)rules->per_image;
    out->items = ld_arena_new(arena, room, sizeof(*out->items), err);
    kept = ld_arena_new(arena, room, sizeof(*kept), err);
    if (!out->items || !kept)
        return false;
    /* A box is suppressed by better ones only: the first per_image that stay
     * are the answer, whatever follows. */
    while (heap.n > 0 && (size_t)out->n < room) {
        uint64_t key = heap_take(&heap);
        struct ld_detection one = candidate(key, &places, in->K);

        if (suppressed(&one, out, rules))
            continue;
        kept[out->n] = key;
        out->items[out->n++] = one;
    }
    for (int i = 0; rules->nms == LD_NMS_VOTING && i < out->n; i++)
        vote(&out->items[i], kept[i], heap.key, n_candidates, &places, in->K);
    return true;
}
