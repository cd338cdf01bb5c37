#include "kernels/cpu/weights_cpu.h"

#include "kernels/base/parallel.h"

/* Work goes tile by tile: 16 outputs x 16 inputs x all taps of a 3x3 kernel are
 * 9 kB in either order, so both stay in the first cache. */
enum { TILE = 16 };

struct pack {
    float *packed;
    const struct ld_dnn_form *form;
    int merged;
    const float *weight, *scale;
};

static int least(int a, int b)
{
    return a < b ? a : b;
}

/* Row of the plain weights that row o of a group is; -1: none, padding. */
static int plain_row(const struct ld_dnn_form *f, int group, int o)
{
    return o < f->O ? group * f->O + o : -1;
}

/* The inputs of a form's group that its row o reads. */
struct reach {
    int first, n;
};

static struct reach reach_of(const struct ld_dnn_form *f, int merged, int o)
{
    int n = f->I / merged;

    return (struct reach){o / (f->O / merged) * n, n};
}

/* Row `row` of all groups' padded rows. */
static void pack_row(const struct pack *p, int row, int i_begin, int i_end)
{
    const struct ld_dnn_form *f = p->form;
    int group = row / f->O_padded, o = row % f->O_padded, taps = f->taps;
    int plain = plain_row(f, group, o);
    struct reach r = reach_of(f, p->merged, o);
    float scale = plain >= 0 && p->scale ? p->scale[plain] : 1;

    for (int i = i_begin; i < i_end; i++) {
        float *to = p->packed + f->group_at[group] + f->o_at[o] + f->i_at[i];
        bool real = plain >= 0 && i >= r.first && i < r.first + r.n;
        const float *from =
            real ? p->weight + ((size_t)plain * r.n + i - r.first) * taps
                 : NULL;

        for (int k = 0; k < taps; k++)
            to[f->tap_at[k]] = real ? from[k] * scale : 0;
    }
}

static void pack_range(size_t begin, size_t end, void *task)
{
    const struct pack *p = task;
    int I = p->form->I_padded;

    for (int i = 0; i < I; i += TILE)
        for (size_t o = begin; o < end; o++)
            pack_row(p, (int)o, i, least(i + TILE, I));
}

void ld_weights_pack(float *packed, const struct ld_dnn_form *form, int merged,
                     const float *weight, const float *scale)
{
    struct pack p = {packed, form, merged, weight, scale};

    ld_parallel((size_t)form->groups * form->O_padded, TILE, pack_range, &p);
}

struct unpack {
    float *weight;
    const float *packed;
    const struct ld_dnn_form *form;
    int merged;
};

/* Inputs [i_begin, i_end) of those that the plain row reads. */
static void unpack_row(const struct unpack *u, int plain, int i_begin,
                       int i_end)
{
    const struct ld_dnn_form *f = u->form;
    int o = plain % f->O;
    struct reach r = reach_of(f, u->merged, o);
    const float *row = u->packed + f->group_at[plain / f->O] + f->o_at[o];

    for (int i = i_begin; i < i_end; i++) {
        const float *from = row + f->i_at[r.first + i];
        float *to = u->weight + ((size_t)plain * r.n + i) * f->taps;

        for (int k = 0; k < f->taps; k++)
            to[k] += from[f->tap_at[k]];
    }
}

static void unpack_range(size_t begin, size_t end, void *task)
{
    const struct unpack *u = task;
    int I = u->form->I / u->merged;

    for (int i = 0; i < I; i += TILE)
        for (size_t o = begin; o < end; o++)
            unpack_row(u, (int)o, i, least(i + TILE, I));
}

void ld_weights_unpack_add(float *weight, const float *packed,
                           const struct ld_dnn_form *form, int merged)
{
    struct unpack u = {weight, packed, form, merged};

    ld_parallel((size_t)form->groups * form->O, TILE, unpack_range, &u);
}
