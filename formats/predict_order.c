/* Where the bytes of the columns stand in a chunk: those of columns that are
 * missed by as much side by side, so that one Huffman table serves many. */
#include <math.h>
#include <string.h>

#include "formats/predict.h"

enum {
    SYMBOLS = 256,
    MOST_ROWS = 4096,
    TABLE_BYTES = 80, /* what a Huffman table takes */
};

struct order {
    size_t n_columns, n_rows;
    int16_t *rows;
    uint8_t *missed;
    void *scratch;
    double *spread;      /* (n_columns) */
    uint32_t *histogram; /* (n_columns, SYMBOLS) of low bytes, by place */
    double *bytes;       /* (n_columns + 1) that a chunk's first columns take */
    int *begin;          /* (n_columns + 1) of the block that ends there */
};

static bool make_room(struct order *o, struct ld_err *err)
{
    size_t n = o->n_columns;

    o->rows = ld_new(n * o->n_rows, sizeof(*o->rows), err);
    o->missed = ld_new(2 * n * o->n_rows, 1, err);
    o->scratch = ld_new(ld_predict_scratch_bytes((int)n), 1, err);
    o->spread = ld_new(n, sizeof(*o->spread), err);
    o->histogram = ld_new(n * SYMBOLS, sizeof(*o->histogram), err);
    o->bytes = ld_new(n + 1, sizeof(*o->bytes), err);
    o->begin = ld_new(n + 1, sizeof(*o->begin), err);
    return o->rows && o->missed && o->scratch && o->spread && o->histogram &&
           o->bytes && o->begin;
}

static void give_back(struct order *o)
{
    ld_delete(o->rows);
    ld_delete(o->missed);
    ld_delete(o->scratch);
    ld_delete(o->spread);
    ld_delete(o->histogram);
    ld_delete(o->bytes);
    ld_delete(o->begin);
}

/* Bits that a number takes, more or less, summed up. */
static void measure(struct order *o)
{
    size_t n = o->n_columns * o->n_rows;

    for (size_t c = 0; c < o->n_columns; c++) {
        o->spread[c] = 0;
        for (size_t r = 0; r < o->n_rows; r++) {
            size_t at = c * o->n_rows + r;

            o->spread[c] += log2(1 + o->missed[at] + 256.0 * o->missed[n + at]);
        }
    }
}

static void sort(struct ld_predictor *p, const struct order *o)
{
    for (int c = 0; c < p->n_columns; c++) {
        p->place[c] = 0;
        for (int d = 0; d < p->n_columns; d++)
            p->place[c] += o->spread[d] < o->spread[c] ||
                           (o->spread[d] == o->spread[c] && d < c);
    }
}

static void count(const struct ld_predictor *p, struct order *o)
{
    memset(o->histogram, 0, o->n_columns * SYMBOLS * sizeof(*o->histogram));
    for (size_t c = 0; c < o->n_columns; c++)
        for (size_t r = 0; r < o->n_rows; r++)
            o->histogram[(size_t)p->place[c] * SYMBOLS +
                         o->missed[c * o->n_rows + r]]++;
}

/* Bits a row of `n` columns whose symbols share a table. */
static double bits_of(const uint32_t sum[SYMBOLS], double n_rows, double n)
{
    double bits = 0;

    for (int s = 0; s < SYMBOLS; s++)
        if (sum[s] > 0)
            bits -= sum[s] * log2(sum[s] / (n_rows * n));
    return bits / n_rows;
}

/* The blocks that take the fewest bytes: the best that ends at a column is the
 * best that ends where its last block begins, and that block. */
static void divide(struct ld_predictor *p, struct order *o, size_t chunk_rows)
{
    int n = p->n_columns, at;

    o->bytes[0] = 0;
    for (int end = 1; end <= n; end++) {
        uint32_t sum[SYMBOLS] = {0};

        o->bytes[end] = INFINITY;
        for (int begin = end - 1; begin >= 0; begin--) {
            double bytes;

            for (int s = 0; s < SYMBOLS; s++)
                sum[s] += o->histogram[(size_t)begin * SYMBOLS + (size_t)s];
            bytes = o->bytes[begin] + TABLE_BYTES +
                    bits_of(sum, (double)o->n_rows, end - begin) / 8 *
                        (double)chunk_rows;
            if (bytes < o->bytes[end]) {
                o->bytes[end] = bytes;
                o->begin[end] = begin;
            }
        }
    }
    for (at = 0; at < n; at++)
        p->ends_block[at] = false;
    for (at = n; at > 0; at = o->begin[at])
        p->ends_block[at - 1] = true;
}

bool ld_predictor_order(struct ld_predictor *p, const int16_t *rows,
                        size_t n_rows, size_t chunk_rows, struct ld_err *err)
{
    struct order o = {.n_columns = (size_t)p->n_columns};
    size_t row_bytes = o.n_columns * sizeof(*rows);
    bool ok;

    o.n_rows = n_rows < MOST_ROWS ? n_rows : MOST_ROWS;
    o.n_rows -= o.n_rows % LD_PREDICT_STRIP;
    if (o.n_rows == 0)
        return true;
    ok = make_room(&o, err);
    for (size_t i = 0; ok && i < o.n_rows; i++)
        memcpy(o.rows + i * o.n_columns,
               rows + i * n_rows / o.n_rows * o.n_columns, row_bytes);
    if (ok) {
        for (int c = 0; c < p->n_columns; c++)
            p->place[c] = c;
        ld_predict_encode(p, o.missed, o.rows, o.n_rows, o.scratch);
        measure(&o);
        sort(p, &o);
        count(p, &o);
        divide(p, &o, chunk_rows);
    }
    give_back(&o);
    return ok;
}
