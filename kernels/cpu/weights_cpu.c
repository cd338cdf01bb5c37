#include "kernels/cpu/weights_cpu.h"

#include "kernels/base/parallel.h"

/* Work goes tile by tile: 16 outputs x 16 inputs x all taps of a 3x3 kernel are
 * 9 kB in either order, so both stay in the first cache. */
enum { TILE = 16 };

struct pack {
    float *packed;
    const struct ld_dnn_form *form;
    const float *weight, *scale;
};

static int least(int a, int b)
{
    return a < b ? a : b;
}

static void pack_row(const struct pack *p, int o, int i_begin, int i_end)
{
    const struct ld_dnn_form *f = p->form;
    float scale = o < f->O ? (p->scale ? p->scale[o] : 1) : 0;
    int taps = f->taps;

    for (int i = i_begin; i < i_end; i++) {
        float *to = p->packed + f->o_at[o] + f->i_at[i];
        bool real = o < f->O && i < f->I;
        const float *from =
            real ? p->weight + ((size_t)o * f->I + i) * taps : NULL;

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

void ld_weights_pack(float *packed, const struct ld_dnn_form *form,
                     const float *weight, const float *scale)
{
    struct pack p = {packed, form, weight, scale};

    ld_parallel((size_t)form->O_padded, TILE, pack_range, &p);
}

struct unpack {
    float *weight;
    const float *packed;
    const struct ld_dnn_form *form;
};

static void unpack_row(const struct unpack *u, int o, int i_begin, int i_end)
{
    const struct ld_dnn_form *f = u->form;

    for (int i = i_begin; i < i_end; i++) {
        const float *from = u->packed + f->o_at[o] + f->i_at[i];
        float *to = u->weight + ((size_t)o * f->I + i) * f->taps;

        for (int k = 0; k < f->taps; k++)
            to[k] += from[f->tap_at[k]];
    }
}

static void unpack_range(size_t begin, size_t end, void *task)
{
    const struct unpack *u = task;
    int I = u->form->I;

    for (int i = 0; i < I; i += TILE)
        for (size_t o = begin; o < end; o++)
            unpack_row(u, (int)o, i, least(i + TILE, I));
}

void ld_weights_unpack_add(float *weight, const float *packed,
                           const struct ld_dnn_form *form)
{
    struct unpack u = {weight, packed, form};

    ld_parallel((size_t)form->O, TILE, unpack_range, &u);
}
