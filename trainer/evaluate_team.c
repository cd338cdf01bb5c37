#include "trainer/evaluate_team.h"

#include <assert.h>
#include <string.h>

/* On the way: for each image {image, detections}, then the detections. */
struct head {
    int image, n;
};

bool ld_evaluate_has(const struct ld_team *team, int image)
{
    return !team || image % team->n_ranks == team->rank;
}

static void put_own(const struct ld_team *team,
                    const struct ld_image_detections *images, int n,
                    struct ld_buf *own)
{
    for (int i = 0; i < n; i++) {
        const struct ld_detections *d = &images[i].detections;
        struct head head = {i, d->n};

        if (!ld_evaluate_has(team, i))
            continue;
        ld_buf_put(own, &head, sizeof(head));
        ld_buf_put(own, d->items, (size_t)d->n * sizeof(*d->items));
    }
}

static bool take_all(const struct ld_buf *all,
                     struct ld_image_detections *images, int n,
                     struct ld_arena *arena, struct ld_err *err)
{
    for (size_t at = 0; at < all->len;) {
        struct ld_detections *d;
        struct head head;
        size_t size;

        memcpy(&head, all->data + at, sizeof(head));
        at += sizeof(head);
        assert(head.image >= 0 && head.image < n);
        images[head.image].sample = head.image;
        d = &images[head.image].detections;
        size = (size_t)head.n * sizeof(*d->items);
        d->n = head.n;
        d->items = ld_arena_new(arena, size, 1, err);
        if (!d->items)
            return false;
        memcpy(d->items, all->data + at, size);
        at += size;
    }
    return true;
}

bool ld_evaluate_gather(const struct ld_team *team,
                        struct ld_image_detections *images, int n,
                        struct ld_arena *arena, struct ld_err *err)
{
    struct ld_buf own = {.max = (size_t)1 << 34};
    struct ld_buf all = {.max = (size_t)1 << 34};
    bool ok;

    if (!team || team->n_ranks == 1)
        return true;
    put_own(team, images, n, &own);
    ok = ld_buf_ok(&own, err) && ld_team_gather(team, &own, &all, err) &&
         take_all(&all, images, n, arena, err);
    ld_buf_free(&own);
    ld_buf_free(&all);
    return ok;
}
