/* pickle.h - what a Python pickle holds, of the kinds a torch file is made of.
 *
 * A pickle is a program for a small stack machine that can name any function of
 * any Python module and call it. This reader knows the few names that a
 * state_dict and the notes of its training need (pickle_names.h), builds plain
 * values, and calls nothing. Any other name is refused, with its place in the
 * file. A program of over a million steps is refused as well: so 1 byte never
 * asks for more than some 100 bytes of memory, and all of it for 150 MB. */
#pragma once

#include <stdint.h>

#include "kernels/base/error.h"
#include "kernels/base/mem.h"

enum ld_py_kind {
    LD_PY_NONE,
    LD_PY_BOOL,
    LD_PY_INT,
    LD_PY_FLOAT,
    LD_PY_TEXT,
    LD_PY_TUPLE,
    LD_PY_LIST,
    LD_PY_DICT,
    LD_PY_NAME,    /* of a class or a function */
    LD_PY_STORAGE, /* items: "storage", its class, key, device, length, view */
    LD_PY_TENSOR,  /* items: storage, offset, shape, strides, ... */
    LD_PY_OTHER,   /* something nobody asks for */
};

struct ld_py {
    enum ld_py_kind kind;
    int n; /* bytes of a text, items, pairs of a dict */
    union {
        int64_t integer; /* also of a bool; an enum ld_py_name */
        double number;
        const char *text;     /* ended by a zero byte, and may hold others */
        struct ld_py **items; /* of a dict: key, value, key, value, ... */
    };
    int room; /* of items, for a list or dict that grows */
};

/* A run of bytes that holds pickles, one behind another. */
struct ld_pickle {
    const unsigned char *at, *end; /* borrowed */
    const unsigned char *file;     /* from where errors count bytes */
    const char *path;              /* for errors */
    struct ld_py **storages;       /* that the last value refers to */
    size_t n_storages;
};

/* The next value; `at` moves behind it. Values are the arena's and may hold
 * one another in circles. NULL with LD_ERR_FORMAT: path, byte and reason. */
struct ld_py *ld_pickle_read(struct ld_pickle *p, struct ld_arena *arena,
                             struct ld_err *err);

/* The value under a key of a dict; NULL if there is none or `dict` is none. */
struct ld_py *ld_py_get(const struct ld_py *dict, const char *key);

/* True if a value is text that is whole UTF-8 without a zero byte. */
bool ld_py_is_text(const struct ld_py *value);
