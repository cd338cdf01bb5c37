#include "formats/h5file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/seal.h"

/* ---- errors ---- */

/* Called from the outermost error to the innermost: the last one stays. Of
 * "... errno = 28, error message = 'No space left on device', ..." the
 * system's words. */
static herr_t keep_deepest(unsigned n, const H5E_error2_t *error, void *data)
{
    static const char mark[] = "error message = '";
    const char *text = error->desc ? error->desc : "";
    const char *words = strstr(text, mark);
    size_t len = strlen(text);

    (void)n;
    if (words) {
        text = words + sizeof(mark) - 1;
        len = strcspn(text, "'");
    }
    snprintf(data, LD_H5_REASON, "%.*s", (int)len, text);
    return 0;
}

bool ld_h5_fail(struct ld_err *err, enum ld_code code, const char *path,
                const char *doing)
{
    char reason[LD_H5_REASON] = "";

    H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, keep_deepest, reason);
    return ld_fail(err, code, "%s: cannot %s: %s", path, doing,
                   *reason ? reason : "HDF5 gives no reason");
}

static herr_t note(hid_t stack, void *reason)
{
    if (*(const char *)reason == 0)
        H5Ewalk2(stack, H5E_WALK_DOWNWARD, keep_deepest, reason);
    return 0;
}

void ld_h5_note_reason(char reason[LD_H5_REASON])
{
    if (reason)
        *reason = 0;
    H5Eset_auto2(H5E_DEFAULT, reason ? note : NULL, reason);
}

/* ---- files ---- */

/* libhdf5 1.10.8 crashes when, at exit, it closes a file once more that a full
 * disk kept it from closing. We close everything ourselves. And a variable of
 * the environment would override access_without_locks: where locks fail, TRUE
 * would keep our files, which need none, from being opened. */
static void start_quietly(void)
{
    unsetenv("HDF5_USE_FILE_LOCKING");
    H5dont_atexit();
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

static hid_t access_without_locks(void)
{
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);

    if (access >= 0)
        H5Pset_file_locking(access, false, true);
    return access;
}

hid_t ld_h5_create(const char *path, struct ld_err *err)
{
    hid_t access, creation, file = -1;

    start_quietly();
    access = access_without_locks();
    creation = H5Pcreate(H5P_FILE_CREATE);
    if (access >= 0 && creation >= 0 &&
        H5Pset_userblock(creation, LD_SEAL_BYTES) >= 0)
        file = H5Fcreate(path, H5F_ACC_TRUNC, creation, access);
    if (file < 0)
        ld_h5_fail(err, LD_ERR_IO, path, "create");
    H5Pclose(creation);
    H5Pclose(access);
    return file;
}

hid_t ld_h5_open(const char *path, struct ld_err *err)
{
    hid_t access, file;

    start_quietly();
    access = access_without_locks();
    file = H5Fopen(path, H5F_ACC_RDONLY, access);
    if (file < 0)
        ld_h5_fail(err, LD_ERR_FORMAT, path, "read as HDF5");
    H5Pclose(access);
    return file;
}

hid_t ld_h5_plain(hid_t class_id)
{
    hid_t list = H5Pcreate(class_id);

    if (list >= 0)
        H5Pset_obj_track_times(list, false);
    return list;
}

/* ---- writing ---- */

static hid_t new_space(size_t count, bool scalar)
{
    hsize_t dim = count;

    return scalar ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, &dim, NULL);
}

static bool put_attribute(hid_t at, const char *name, hid_t type,
                          const void *values, hid_t space)
{
    hid_t attribute =
        H5Acreate2(at, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    bool ok = attribute >= 0 && H5Awrite(attribute, type, values) >= 0;

    if (attribute >= 0)
        ok = H5Aclose(attribute) >= 0 && ok;
    return H5Sclose(space) >= 0 && ok;
}

static bool put_dataset(hid_t at, const char *name, hid_t type,
                        const void *values, hid_t space)
{
    hid_t plain = ld_h5_plain(H5P_DATASET_CREATE);
    hid_t set =
        H5Dcreate2(at, name, type, space, H5P_DEFAULT, plain, H5P_DEFAULT);
    bool ok = set >= 0;

    if (ok && H5Sget_simple_extent_npoints(space) > 0)
        ok = H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0;
    if (set >= 0)
        ok = H5Dclose(set) >= 0 && ok;
    H5Pclose(plain);
    return H5Sclose(space) >= 0 && ok;
}

bool ld_h5_put(hid_t at, const char *name, hid_t type, const void *values,
               size_t count)
{
    return put_attribute(at, name, type, values, new_space(count, count == 1));
}

static hid_t text_type(void)
{
    hid_t type = H5Tcopy(H5T_C_S1);

    if (type >= 0) {
        H5Tset_size(type, H5T_VARIABLE);
        H5Tset_cset(type, H5T_CSET_UTF8);
    }
    return type;
}

bool ld_h5_put_text(hid_t at, const char *name, const char *text)
{
    hid_t type = text_type();
    bool ok = put_attribute(at, name, type, &text, new_space(1, true));

    return H5Tclose(type) >= 0 && ok;
}

bool ld_h5_put_texts(hid_t at, const char *name, const char *const *texts,
                     size_t count)
{
    hid_t type = text_type();
    bool ok = put_attribute(at, name, type, texts, new_space(count, false));

    return H5Tclose(type) >= 0 && ok;
}

bool ld_h5_put_array(hid_t at, const char *name, hid_t type, const void *values,
                     size_t count)
{
    return put_dataset(at, name, type, values, new_space(count, false));
}

bool ld_h5_put_text_array(hid_t at, const char *name, const char *const *texts,
                          size_t count)
{
    hid_t type = text_type();
    bool ok = put_dataset(at, name, type, texts, new_space(count, false));

    return H5Tclose(type) >= 0 && ok;
}

/* ---- reading ---- */

static hssize_t count_of(hid_t space)
{
    hssize_t count = space < 0 ? -1 : H5Sget_simple_extent_npoints(space);

    H5Sclose(space);
    return count;
}

static bool same_class(hid_t type, H5T_class_t wanted)
{
    bool same = type >= 0 && H5Tget_class(type) == wanted;

    H5Tclose(type);
    return same;
}

bool ld_h5_get(hid_t at, const char *name, hid_t type, void *values,
               size_t count)
{
    hid_t attribute = H5Aopen(at, name, H5P_DEFAULT);
    bool ok = attribute >= 0 &&
              same_class(H5Aget_type(attribute), H5Tget_class(type)) &&
              count_of(H5Aget_space(attribute)) == (hssize_t)count &&
              H5Aread(attribute, type, values) >= 0;

    if (attribute >= 0)
        H5Aclose(attribute);
    return ok;
}

/* Copies texts that HDF5 allocated into the arena. */
static bool keep_texts(const char **texts, char *const *found, size_t count,
                       struct ld_arena *arena, struct ld_err *err)
{
    for (size_t i = 0; i < count; i++) {
        const char *text = found[i] ? found[i] : "";
        size_t len = strnlen(text, LD_H5_MAX_TEXT);

        texts[i] = ld_arena_text(arena, text, len, err);
        if (!texts[i])
            return false;
    }
    return true;
}

static bool is_text(hid_t type)
{
    bool text = type >= 0 && H5Tis_variable_str(type) > 0;

    H5Tclose(type);
    return text;
}

/* An opened dataset or attribute: HDF5 reads the two by different names. */
struct source {
    hid_t id;
    bool is_attribute;
};

static hid_t space_of(struct source from)
{
    return from.is_attribute ? H5Aget_space(from.id) : H5Dget_space(from.id);
}

static bool read_into(struct source from, hid_t type, void *values)
{
    if (from.is_attribute)
        return H5Aread(from.id, type, values) >= 0;
    return H5Dread(from.id, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0;
}

static bool read_texts(struct source from, const char **texts, size_t count,
                       struct ld_arena *arena, struct ld_err *err)
{
    char **found = ld_arena_new(arena, count, sizeof(*found), err);
    hid_t type = text_type(), space = space_of(from);
    bool ok = found && read_into(from, type, found);

    if (ok) {
        ok = keep_texts(texts, found, count, arena, err);
        H5Dvlen_reclaim(type, space, H5P_DEFAULT, found);
    }
    H5Sclose(space);
    H5Tclose(type);
    return ok;
}

bool ld_h5_get_texts(hid_t at, const char *name, const char ***out, int *count,
                     struct ld_arena *arena, struct ld_err *err)
{
    struct source from = {H5Aopen(at, name, H5P_DEFAULT), true};
    hssize_t n;
    bool ok = false;

    if (from.id < 0)
        return false;
    n = count_of(space_of(from));
    if (n >= 0 && n <= 65536 && is_text(H5Aget_type(from.id))) {
        *out = ld_arena_new(arena, (size_t)n, sizeof(**out), err);
        *count = (int)n;
        ok = *out && (n == 0 || read_texts(from, *out, (size_t)n, arena, err));
    }
    H5Aclose(from.id);
    return ok;
}

bool ld_h5_get_text(hid_t at, const char *name, const char **out,
                    struct ld_arena *arena, struct ld_err *err)
{
    const char **texts;
    int count;

    if (!ld_h5_get_texts(at, name, &texts, &count, arena, err) || count != 1)
        return false;
    *out = texts[0];
    return true;
}

/* The identifier of a dataset that holds `count` items, or -1. */
static hid_t open_array(hid_t at, const char *name, size_t count)
{
    hid_t set = H5Dopen2(at, name, H5P_DEFAULT);

    if (set >= 0 && count_of(H5Dget_space(set)) != (hssize_t)count) {
        H5Dclose(set);
        return -1;
    }
    return set;
}

bool ld_h5_get_array(hid_t at, const char *name, hid_t type, void *values,
                     size_t count)
{
    hid_t set = open_array(at, name, count);
    bool ok;

    if (set < 0)
        return false;
    ok = same_class(H5Dget_type(set), H5Tget_class(type));
    if (ok && count > 0)
        ok = read_into((struct source){set, false}, type, values);
    H5Dclose(set);
    return ok;
}

bool ld_h5_get_text_array(hid_t at, const char *name, const char **texts,
                          size_t count, struct ld_arena *arena,
                          struct ld_err *err)
{
    hid_t set = open_array(at, name, count);
    bool ok;

    if (set < 0)
        return false;
    ok = is_text(H5Dget_type(set));
    if (ok && count > 0)
        ok = read_texts((struct source){set, false}, texts, count, arena, err);
    H5Dclose(set);
    return ok;
}

int64_t ld_h5_rows(hid_t at, const char *name)
{
    hsize_t dims[H5S_MAX_RANK] = {0};
    hid_t set = H5Dopen2(at, name, H5P_DEFAULT), space;
    int rank;

    if (set < 0)
        return -1;
    space = H5Dget_space(set);
    rank = H5Sget_simple_extent_dims(space, dims, NULL);
    H5Sclose(space);
    H5Dclose(set);
    return rank < 1 || dims[0] > INT64_MAX ? -1 : (int64_t)dims[0];
}
