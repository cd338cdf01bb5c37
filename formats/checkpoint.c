#include "formats/checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "formats/file.h"
#include "formats/h5file.h"
#include "formats/seal.h"

enum { MAX_NAME = 256, MAX_TENSORS = 1 << 16 };

static uint32_t crc_of(const struct ld_tensor *t)
{
    const void *data = t->data;

    return (uint32_t)crc32_z(0, data, ld_tensor_count(t) * sizeof(float));
}

/* ---- writing ---- */

struct writer {
    const char *path; /* for errors */
    hid_t file;
    struct ld_frame *frames; /* of the tensors written so far */
    size_t n_frames;
    struct ld_err *err;
};

static bool fail_write(struct writer *w)
{
    return ld_h5_fail(w->err, LD_ERR_IO, w->path, "write");
}

static hid_t space_of(const struct ld_tensor *t)
{
    hsize_t dims[LD_MAX_DIMS];

    for (int i = 0; i < t->n_dims; i++)
        dims[i] = (hsize_t)t->dim[i];
    return t->n_dims ? H5Screate_simple(t->n_dims, dims, NULL)
                     : H5Screate(H5S_SCALAR);
}

static bool write_values(struct writer *w, hid_t set, const struct ld_tensor *t)
{
    size_t bytes = ld_tensor_count(t) * sizeof(float);
    uint32_t crc = crc_of(t);
    haddr_t address;

    if (!ld_h5_put(set, "crc32", H5T_NATIVE_UINT32, &crc, 1) ||
        H5Dwrite(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT,
                 t->data) < 0)
        return fail_write(w);
    address = H5Dget_offset(set);
    if (address == HADDR_UNDEF)
        return fail_write(w);
    w->frames[w->n_frames++] = (struct ld_frame){address, bytes};
    return true;
}

static bool write_tensor(struct writer *w, hid_t group,
                         const struct ld_tensor *t)
{
    hid_t space, plain, set;
    bool ok;

    if (!*t->name || strchr(t->name, '/') || strlen(t->name) > MAX_NAME)
        return ld_fail(w->err, LD_ERR_IO, "%s: no name for a tensor: '%s'",
                       w->path, t->name);
    space = space_of(t);
    plain = ld_h5_plain(H5P_DATASET_CREATE);
    set = H5Dcreate2(group, t->name, H5T_IEEE_F32LE, space, H5P_DEFAULT, plain,
                     H5P_DEFAULT);
    ok = set >= 0 ? write_values(w, set, t) : fail_write(w);
    if (set >= 0)
        H5Dclose(set);
    H5Pclose(plain);
    H5Sclose(space);
    return ok;
}

static bool write_group(struct writer *w, const char *name,
                        const struct ld_tensor *tensors, int n)
{
    hid_t plain = ld_h5_plain(H5P_GROUP_CREATE);
    hid_t group = H5Gcreate2(w->file, name, H5P_DEFAULT, plain, H5P_DEFAULT);
    bool ok = group >= 0 || fail_write(w);

    for (int i = 0; ok && i < n; i++)
        ok = write_tensor(w, group, &tensors[i]);
    if (group >= 0)
        H5Gclose(group);
    H5Pclose(plain);
    return ok;
}

static bool write_attributes(struct writer *w, const struct ld_checkpoint *in)
{
    const int64_t format = LD_CHECKPOINT_FORMAT;
    const char *const none = NULL;
    const char *const *classes = in->n_classes ? in->class_names : &none;
    hid_t at = w->file;
    bool ok = ld_h5_put(at, "format", H5T_NATIVE_INT64, &format, 1) &&
              ld_h5_put_text(at, "program", "ld-distill " LD_VERSION) &&
              ld_h5_put_text(at, "config", in->config) &&
              ld_h5_put_texts(at, "classes", classes, (size_t)in->n_classes) &&
              ld_h5_put(at, "epoch", H5T_NATIVE_INT64, &in->epoch, 1) &&
              ld_h5_put(at, "step", H5T_NATIVE_INT64, &in->step, 1) &&
              ld_h5_put(at, "step_of_epoch", H5T_NATIVE_INT64,
                        &in->step_of_epoch, 1) &&
              (in->n_ranks <= 1 ||
               ld_h5_put(at, "ranks", H5T_NATIVE_INT64, &in->n_ranks, 1));

    return ok || fail_write(w);
}

/* The table itself; *address is where it stands in the file. */
static bool write_frames(struct writer *w, uint64_t *address)
{
    hsize_t dims[2] = {w->n_frames, 2};
    hid_t space = H5Screate_simple(2, dims, NULL);
    hid_t plain = ld_h5_plain(H5P_DATASET_CREATE);
    hid_t set = H5Dcreate2(w->file, "frames", H5T_STD_U64LE, space, H5P_DEFAULT,
                           plain, H5P_DEFAULT);
    bool ok = set >= 0;

    *address = 0;
    if (ok && w->n_frames > 0) {
        ok = H5Dwrite(set, H5T_NATIVE_UINT64, H5S_ALL, H5S_ALL, H5P_DEFAULT,
                      w->frames) >= 0;
        *address = H5Dget_offset(set);
    }
    ok = ok || fail_write(w);
    if (set >= 0)
        H5Dclose(set);
    H5Pclose(plain);
    H5Sclose(space);
    return ok;
}

static bool write_all(struct writer *w, const struct ld_checkpoint *in,
                      uint64_t *table_address)
{
    return write_attributes(w, in) &&
           write_group(w, "tensors", in->tensors, in->n_tensors) &&
           (in->n_momentum == 0 ||
            write_group(w, "momentum", in->momentum, in->n_momentum)) &&
           write_frames(w, table_address) &&
           (H5Fflush(w->file, H5F_SCOPE_GLOBAL) >= 0 || fail_write(w));
}

/* The temporary file, closed and sealed. */
static bool write_file(const char *temporary, const char *path,
                       const struct ld_checkpoint *in, struct ld_err *err)
{
    size_t n = (size_t)in->n_tensors + (size_t)in->n_momentum;
    struct writer w = {.path = path, .err = err};
    uint64_t address;
    bool ok = false;

    w.frames = ld_new(n, sizeof(*w.frames), err);
    if (!w.frames)
        return false;
    w.file = ld_h5_create(temporary, err);
    if (w.file >= 0) {
        ok = write_all(&w, in, &address);
        if (H5Fclose(w.file) < 0 && ok)
            ok = fail_write(&w);
    }
    ok = ok &&
         ld_seal_write(temporary, "checkpoint", address, w.n_frames, path, err);
    ld_delete(w.frames);
    return ok;
}

bool ld_checkpoint_save(const char *path, const struct ld_checkpoint *in,
                        struct ld_err *err)
{
    char temporary[4096];

    if (!ld_file_temporary(path, temporary, err))
        return false;
    if (!write_file(temporary, path, in, err)) {
        unlink(temporary);
        return false;
    }
    return ld_file_publish(temporary, path, err);
}

/* ---- reading ---- */

struct loader {
    const char *path;
    hid_t file;
    uint64_t file_bytes;
    struct ld_arena *arena;
    struct ld_err *err;
};

static bool bad(struct loader *l, const char *name, const char *what)
{
    return ld_fail(l->err, LD_ERR_FORMAT, "%s: '%s': %s", l->path, name, what);
}

/* Checks all bytes that HDF5 will parse, before it does. */
static bool check_seal(struct loader *l)
{
    struct ld_arena scratch = {0};
    struct ld_frame *frames;
    struct ld_seal seal;
    int fd = open(l->path, O_RDONLY | O_CLOEXEC);
    bool ok;

    if (fd < 0)
        return ld_fail(l->err, LD_ERR_IO, "%s: cannot open: %s", l->path,
                       strerror(errno));
    ok = ld_seal_check(fd, "checkpoint", l->path, &seal, &frames, &scratch,
                       l->err);
    l->file_bytes = seal.file_bytes;
    ld_arena_free(&scratch);
    close(fd);
    return ok;
}

static bool get_integer(struct loader *l, const char *name, int64_t *out)
{
    return ld_h5_get(l->file, name, H5T_NATIVE_INT64, out, 1) ||
           bad(l, name, "missing, or not one whole number");
}

static bool read_attributes(struct loader *l, struct ld_checkpoint *out)
{
    int64_t format;

    if (!get_integer(l, "format", &format))
        return false;
    if (format != LD_CHECKPOINT_FORMAT)
        return ld_fail(l->err, LD_ERR_FORMAT,
                       "%s: is of format %" PRId64 ", this program reads %d",
                       l->path, format, LD_CHECKPOINT_FORMAT);
    if (!ld_h5_get_text(l->file, "config", &out->config, l->arena, l->err))
        return bad(l, "config", "missing, or not a text");
    if (!ld_h5_get_texts(l->file, "classes", &out->class_names, &out->n_classes,
                         l->arena, l->err))
        return bad(l, "classes", "missing, or not texts");
    out->n_ranks = 1;
    if (H5Aexists(l->file, "ranks") > 0 &&
        !get_integer(l, "ranks", &out->n_ranks))
        return false;
    return get_integer(l, "epoch", &out->epoch) &&
           get_integer(l, "step", &out->step) &&
           get_integer(l, "step_of_epoch", &out->step_of_epoch);
}

static bool is_float32(hid_t set)
{
    hid_t type = H5Dget_type(set);
    bool is = type >= 0 && H5Tequal(type, H5T_IEEE_F32LE) > 0;

    if (type >= 0)
        H5Tclose(type);
    return is;
}

static bool read_shape(hid_t set, struct ld_tensor *t)
{
    hid_t space = H5Dget_space(set);
    hsize_t dims[H5S_MAX_RANK];
    bool ok = true;

    t->n_dims = space < 0 ? -1 : H5Sget_simple_extent_dims(space, dims, NULL);
    if (space >= 0)
        H5Sclose(space);
    if (t->n_dims < 0 || t->n_dims > LD_MAX_DIMS)
        return false;
    for (int i = 0; i < t->n_dims; i++) {
        ok = ok && dims[i] >= 1 && dims[i] <= INT_MAX;
        t->dim[i] = ok ? (int)dims[i] : 0;
    }
    return ok;
}

/* All of it is in the file, as it stands: so no shape asks for more memory
 * than the file is long. */
static bool is_stored_whole(const struct loader *l, hid_t set,
                            const struct ld_tensor *t)
{
    uint64_t count = 1;

    for (int i = 0; i < t->n_dims; i++)
        if (__builtin_mul_overflow(count, (uint64_t)t->dim[i], &count))
            return false;
    return count <= l->file_bytes / sizeof(float) &&
           H5Dget_storage_size(set) == count * sizeof(float);
}

static bool read_values(struct loader *l, hid_t set, struct ld_tensor *t)
{
    uint32_t crc;

    if (!is_float32(set))
        return bad(l, t->name, "is not float32");
    if (!read_shape(set, t) || !is_stored_whole(l, set, t))
        return bad(l, t->name,
                   "expected 0 to 4 dimensions, stored as they are");
    if (!ld_h5_get(set, "crc32", H5T_NATIVE_UINT32, &crc, 1))
        return bad(l, t->name, "has no crc32");
    t->data = ld_arena_new(l->arena, ld_tensor_count(t), sizeof(float), l->err);
    if (!t->data)
        return false;
    if (H5Dread(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, t->data) <
        0)
        return ld_h5_fail(l->err, LD_ERR_FORMAT, l->path, t->name);
    return crc_of(t) == crc || bad(l, t->name,
                                   "is damaged: its bytes do not "
                                   "have the CRC-32 they had");
}

static bool read_tensor(struct loader *l, hid_t group, hsize_t index,
                        struct ld_tensor *t)
{
    char name[MAX_NAME + 1];
    hid_t set;
    bool ok;

    if (H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, index, name,
                           sizeof(name), H5P_DEFAULT) < 0)
        return ld_h5_fail(l->err, LD_ERR_FORMAT, l->path, "list its tensors");
    t->name = ld_arena_text(l->arena, name, strlen(name), l->err);
    if (!t->name)
        return false;
    set = H5Dopen2(group, name, H5P_DEFAULT);
    if (set < 0)
        return bad(l, name, "is no tensor");
    ok = read_values(l, set, t);
    H5Dclose(set);
    return ok;
}

static bool read_group(struct loader *l, const char *name,
                       struct ld_tensor **tensors, int *n)
{
    hid_t group = H5Gopen2(l->file, name, H5P_DEFAULT);
    H5G_info_t info;
    bool ok = true;

    if (group < 0)
        return bad(l, name, "missing");
    if (H5Gget_info(group, &info) < 0 || info.nlinks > MAX_TENSORS) {
        ok = bad(l, name, "is not a group of tensors");
    } else {
        *tensors = ld_arena_new(l->arena, (size_t)info.nlinks,
                                sizeof(**tensors), l->err);
        *n = (int)info.nlinks;
        ok = *tensors != NULL;
        for (int i = 0; ok && i < *n; i++)
            ok = read_tensor(l, group, (hsize_t)i, &(*tensors)[i]);
    }
    H5Gclose(group);
    return ok;
}

bool ld_checkpoint_load_own(const char *path, struct ld_checkpoint *out,
                            struct ld_arena *arena, struct ld_err *err)
{
    struct loader l = {.path = path, .arena = arena, .err = err};
    bool ok;

    *out = (struct ld_checkpoint){0};
    if (!check_seal(&l))
        return false;
    l.file = ld_h5_open(path, err);
    if (l.file < 0)
        return false;
    ok = read_attributes(&l, out) &&
         read_group(&l, "tensors", &out->tensors, &out->n_tensors) &&
         (H5Lexists(l.file, "momentum", H5P_DEFAULT) <= 0 ||
          read_group(&l, "momentum", &out->momentum, &out->n_momentum));
    H5Fclose(l.file);
    return ok;
}
