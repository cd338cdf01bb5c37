/* pickle_names.h - the names a pickle may refer to, and what a call would give.
 *
 * Internal to pickle.c and pth.c. Nothing is ever called: a tensor is its
 * arguments, an ordered dict a dict, and what belongs to the notes of a run
 * (numpy's numbers, the log buffers of mmengine) is a value without content. */
#pragma once

#include "formats/element.h"
#include "formats/pickle.h"

enum { LD_PY_NO_NAME = -1 };

/* The number of "module", "name", or LD_PY_NO_NAME. */
int ld_py_name(const char *module, const char *name);

/* What calling `name` with the tuple `args` gives: `out` is filled, or *same
 * is set to an argument that comes back as it is. False if the name is no
 * function, or takes no such arguments. A new dict is empty, but *pairs is set
 * to a list of pairs to fill it with, if there is one. */
bool ld_py_call(const struct ld_py *name, const struct ld_py *args,
                struct ld_py *out, struct ld_py **same, struct ld_py **pairs);

/* The tuple of a persistent id as a storage; false if it is none. */
bool ld_py_is_storage(const struct ld_py *id);

/* The number type of a storage class; false if `name` is none. */
bool ld_py_element(const struct ld_py *name, enum ld_element *out);
