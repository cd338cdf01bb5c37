/* checkpoint.h - named tensors, what they are, and where the run stood.
 *
 * Ours is an HDF5 file, for h5dump and h5py; those of other programs are read
 * as well (ld_checkpoint_load). Ours holds:
 *
 *   user block         seal of kind "checkpoint" (formats/seal.h)
 *   /tensors/<name>    float32, contiguous; the shapes and names of
 * mmdetection, a dot is a part of the name. Attribute crc32: of its bytes
 *   /momentum/<name>   the same, of the trained ones; absent in an export
 *   /frames            (tensors, 2) uint64: where the bytes of each tensor
 *                      stand and how many they are: the seal's table
 *   attributes of /    format (1), program, config (YAML text), classes, epoch,
 *                      step, step_of_epoch; ranks, where more than one trained
 *
 * Written whole or not at all (formats/file.h). A damaged byte is found before
 * HDF5 sees it (the seal) or when its tensor is read (crc32). */
#pragma once

#include <stdint.h>

#include "kernels/base/mem.h"
#include "kernels/tensor.h"

enum { LD_CHECKPOINT_FORMAT = 1 };

struct ld_checkpoint {
    int64_t epoch; /* whole epochs done */
    int64_t step;  /* of all epochs */
    int64_t step_of_epoch;
    int64_t n_ranks;    /* that trained it together; 0 is 1 */
    const char *config; /* YAML text of the run: model, data, schedule; NULL: */
    const char *why_no_model; /* ... no detector of ours, and what is not */
    const char *note;         /* what was guessed, for the user; or NULL */
    const char **class_names;
    int n_classes;
    bool classes_assumed; /* the file names none; see ld_setup_same_classes */
    struct ld_tensor *tensors;  /* host memory */
    struct ld_tensor *momentum; /* same names; n_momentum 0 in an export */
    int n_tensors, n_momentum;
};

/* LD_ERR_IO names the path and the system's reason ("No space left on device");
 * what stood at `path` before then still does, and nothing new beside it. A
 * name that is empty, used twice or holds '/' is LD_ERR_IO as well. */
bool ld_checkpoint_save(const char *path, const struct ld_checkpoint *in,
                        struct ld_err *err);

/* Reads a checkpoint of ours, or one of another program: PyTorch's .pth in both
 * formats (formats/pth.h), .safetensors (formats/safetensors.h). What a file
 * is, its first bytes say, not its name.
 *
 * Everything is the arena's; tensors are float32, in the order of their names.
 * Another program's file has no config: it is made from the tensors
 * (formats/foreign_model.h), which fails in silence: then `config` is NULL and
 * the tensors still serve to start from. It has no momentum. Class names that
 * it does not hold are assumed: COCO's for 80 classes, VOC's for 20, else
 * "class 0" and so on. LD_ERR_FORMAT names the file and the tensor or place
 * that is damaged, or what is missing or of another format. */
bool ld_checkpoint_load(const char *path, struct ld_checkpoint *out,
                        struct ld_arena *arena, struct ld_err *err);

/* The same of our own files alone: a run goes on from nothing else. */
bool ld_checkpoint_load_own(const char *path, struct ld_checkpoint *out,
                            struct ld_arena *arena, struct ld_err *err);
