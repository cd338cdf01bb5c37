/* pickle_machine.h - the stack, the memo and the bytes that a pickle works on.
 *
 * Internal to pickle.c. Every function that gives false or NULL has recorded
 * why, with the place of the step in the file. */
#pragma once

#include "formats/pickle.h"

enum { LD_MAX_MARKS = 256 /* containers, one in another */ };

struct ld_py_list {
    struct ld_py **items;
    size_t n, room;
};

struct ld_machine {
    struct ld_pickle *p;
    struct ld_arena *arena;
    struct ld_err *err;
    const unsigned char *here; /* the step being done, for errors */
    struct ld_py_list stack, memo, storages;
    size_t marks[LD_MAX_MARKS]; /* heights of the stack */
    int n_marks;
    int n_steps; /* done so far */
};

/* Records what is wrong. Returns false. */
bool ld_machine_bad(struct ld_machine *m, const char *what);

/* The next n bytes, which are behind us then. */
const unsigned char *ld_machine_take(struct ld_machine *m, uint64_t n);

/* A number of `size` bytes, at most 8, little-endian. */
bool ld_machine_word(struct ld_machine *m, size_t size, uint64_t *out);

/* Makes room for so many items in all. */
bool ld_machine_reserve(struct ld_machine *m, struct ld_py_list *list,
                        size_t room);

struct ld_py *ld_machine_make(struct ld_machine *m, struct ld_py value);
bool ld_machine_push(struct ld_machine *m, struct ld_py *value); /* not NULL */
bool ld_machine_push_new(struct ld_machine *m, struct ld_py value);

/* The top n values, which must stand above the last mark. */
struct ld_py **ld_machine_top(struct ld_machine *m, size_t n);

/* Removes the last mark and the n values above it; they stand at *items until
 * the next push. */
bool ld_machine_marked(struct ld_machine *m, struct ld_py ***items, size_t *n);

/* Keeps the top value under a number; pushes the value kept under one. */
bool ld_machine_put(struct ld_machine *m, uint64_t index);
bool ld_machine_get(struct ld_machine *m, uint64_t index);
