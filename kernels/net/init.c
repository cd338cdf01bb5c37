#include <math.h>

#include "kernels/base/rng.h"
#include "kernels/net/net_parts.h"

enum { CHUNK = 1024 };

static uint64_t hash_text(const char *text) /* FNV-1a */
{
    uint64_t hash = 0xcbf29ce484222325ULL;

    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3ULL;
    return hash;
}

static float draw(const struct ld_param_spec *spec, struct ld_rng *rng)
{
    int area = spec->dim[2] * spec->dim[3];
    double fan_out = (double)spec->dim[0] * area;
    double fan_in = (double)spec->dim[1] * area;

    switch (spec->init) {
    case LD_INIT_NORMAL:
        return spec->constant * ld_rng_normal(rng);
    case LD_INIT_KAIMING:
        return (float)sqrt(2 / fan_out) * ld_rng_normal(rng);
    case LD_INIT_XAVIER:
        return (float)sqrt(6 / (fan_in + fan_out)) *
               (2 * ld_rng_uniform(rng) - 1);
    case LD_INIT_CONSTANT:
        break;
    }
    return spec->constant;
}

static void init_param(struct ld_net *net, int i, uint64_t seed)
{
    const struct ld_param_spec *spec = &net->graph.param[i];
    struct ld_tensor *value = &net->param[i].value;
    struct ld_rng rng =
        ld_rng_seed(ld_rng_hash(seed, hash_text(spec->name), 0), 0);
    size_t count = ld_tensor_count(value);
    float chunk[CHUNK];

    for (size_t at = 0; at < count; at += CHUNK) {
        size_t n = count - at < CHUNK ? count - at : CHUNK;

        for (size_t j = 0; j < n; j++)
            chunk[j] = draw(spec, &rng);
        net->dev->ops->upload(net->dev, value->data + at, chunk,
                              n * sizeof(float));
    }
}

void ld_net_init(struct ld_net *net, uint64_t seed)
{
    for (int i = 0; i < net->graph.n_params; i++)
        init_param(net, i, seed);
    ld_net_changed(net);
}
