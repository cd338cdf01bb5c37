/* export_onnx_graph.h - an ONNX graph under construction: values, nodes, stored
 * tensors.
 *
 * A value is its name: what a node gives, what a stored tensor holds. All
 * memory is an arena's. The first failure stays in `err`; from then on each
 * function gives the name "" and adds nothing, so that a caller writes its
 * formulas down and asks once, with ld_onnx_ok. */
#pragma once

#include <stdint.h>

#include "kernels/base/mem.h"
#include "trainer/onnx.pb-c.h"

enum { LD_ONNX_INPUTS = 5, LD_ONNX_ATTRIBUTES = 8, LD_ONNX_INTS = 4 };

/* A growing list of messages, in the order in which they were added. */
struct ld_onnx_list {
    size_t n, cap;
    void **items;
};

struct ld_onnx {
    struct ld_onnx_list nodes, tensors, inputs, outputs, properties;
    int operator_set; /* the least that has all nodes; 0 to begin with */
    struct ld_arena *arena;
    struct ld_err *err;
};

/* Of the kind that is set: text; else n_ints whole numbers; else `f` if
 * is_float; else `i`. */
struct ld_onnx_attribute {
    const char *name; /* NULL ends a list of them */
    const char *text;
    int n_ints;
    int64_t ints[LD_ONNX_INTS];
    bool is_float;
    float f;
    int64_t i;
};

struct ld_onnx_node {
    const char *op;
    const char *in[LD_ONNX_INPUTS + 1]; /* NULL ends them; "" leaves one out */
    const char *out;     /* name of the first output, or NULL: one is made */
    const char **second; /* gets the name of a second output; or NULL */
    struct ld_onnx_attribute attribute[LD_ONNX_ATTRIBUTES + 1];
};

bool ld_onnx_ok(const struct ld_onnx *onnx);

/* Zeroed memory of the arena; NULL after any failure. */
void *ld_onnx_room(struct ld_onnx *onnx, size_t count, size_t size);

/* Adds a message of the arena's. */
void ld_onnx_list_add(struct ld_onnx *onnx, struct ld_onnx_list *list,
                      void *item);

/* Notes that a node is of no operator set before this one. */
void ld_onnx_need(struct ld_onnx *onnx, int operator_set);

/* Adds a node; gives the name of its first output. */
const char *ld_onnx_add(struct ld_onnx *onnx, struct ld_onnx_node node);

/* A node without attributes; `b` may be NULL. */
const char *ld_onnx_op(struct ld_onnx *onnx, const char *op, const char *a,
                       const char *b);

/* A node that joins n values along an axis. */
const char *ld_onnx_concat(struct ld_onnx *onnx, const char *const *values,
                           int n, int64_t axis);

/* Stores float32 numbers under `name`; they are borrowed. Gives the name. */
const char *ld_onnx_floats(struct ld_onnx *onnx, const char *name, float *data,
                           int n_dims, const int64_t *dims);

/* Stores constants, named for their values: equal ones are stored once. */
const char *ld_onnx_float(struct ld_onnx *onnx, float value); /* a scalar */
const char *ld_onnx_int(struct ld_onnx *onnx, int64_t value); /* a scalar */
const char *ld_onnx_ints(struct ld_onnx *onnx, int n, const int64_t *values);

/* A copy of a text. Never NULL. */
char *ld_onnx_text(struct ld_onnx *onnx, const char *text);
