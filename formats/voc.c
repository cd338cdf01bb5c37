#include "formats/dataset_make.h"

#include "formats/voc_xml.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    MIN_TRAINED_SIDE = 32, /* pixels, spec training 1 */
    MAX_SOURCES = 64,      /* folders */
    PATH_SIZE = 4096,
};

/* All that is needed while the files are read, one after the other. */
struct voc {
    struct ld_dataset_store *store;
    struct ld_err *err;
    struct ld_buf samples, objects; /* arrays of ld_sample, ld_object */
    struct ld_buf names;            /* const char *, by class_index */
    bool only_named;                /* the source lists the classes */
    struct sha256_ctx hash;
    const char *root;           /* the source folder being read */
    const char *root_in_folder; /* the same below the data set's folder: "", or
                                   ending in '/' */
};

static size_t n_objects(const struct voc *v)
{
    return v->objects.len / sizeof(struct ld_object);
}

static size_t n_names(const struct voc *v)
{
    return v->names.len / sizeof(const char *);
}

static bool too_long(struct voc *v, const char *name)
{
    return ld_fail(v->err, LD_ERR_IO, "%s: the name is too long", name);
}

/* --- one image --- */

/* Index of the class; -1 if it is not wanted, or after an error. */
static int find_class(struct voc *v, const char *name)
{
    const char **names = (const char **)v->names.data;
    size_t n = n_names(v);
    const char *copy;

    for (size_t i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0)
            return (int)i;
    if (v->only_named)
        return -1;
    copy = ld_arena_text(&v->store->arena, name, strlen(name), v->err);
    ld_buf_put(&v->names, &copy, sizeof(copy));
    return copy && ld_buf_ok(&v->names, v->err) ? (int)n : -1;
}

static bool add_object(void *user, const struct ld_voc_object *found,
                       struct ld_err *err)
{
    struct voc *v = user;
    struct ld_object object = {.box = found->box, .ignored = found->difficult};

    object.area =
        (object.box.x1 - object.box.x0) * (object.box.y1 - object.box.y0);
    object.class_index = find_class(v, found->name);
    if (object.class_index >= 0)
        ld_buf_put(&v->objects, &object, sizeof(object));
    else
        v->store->set.n_dropped++;
    return !err->code && ld_buf_ok(&v->objects, err);
}

/* The filters of spec training 2, and of 1 where the image's size is known. */
static void judge(struct voc *v, struct ld_sample *sample)
{
    struct ld_object *objects = (struct ld_object *)v->objects.data;
    bool known = sample->H > 0;

    sample->n_objects = (int)n_objects(v) - sample->first_object;
    sample->trained =
        sample->n_objects > 0 && (!known || (sample->H >= MIN_TRAINED_SIDE &&
                                             sample->W >= MIN_TRAINED_SIDE));
    for (int i = 0; i < sample->n_objects; i++) {
        struct ld_object *o = &objects[sample->first_object + i];
        bool usable = o->box.x1 - o->box.x0 >= 1 && o->box.y1 - o->box.y0 >= 1;

        if (known)
            usable &= ld_dataset_box_meets_image(o->box, sample->H, sample->W);
        o->trained = usable && !o->ignored;
        v->store->set.n_dropped += !usable && !o->ignored;
    }
}

static bool is_image(struct voc *v, const char *name, const char *ending)
{
    char path[PATH_SIZE];
    int len = snprintf(path, sizeof(path), "%s/JPEGImages/%s%s", v->root, name,
                       ending);

    return name[0] && len < PATH_SIZE && access(path, R_OK) == 0;
}

static const char *name_image(struct voc *v, const char *name,
                              const char *ending)
{
    char path[PATH_SIZE];
    int len = snprintf(path, sizeof(path), "%sJPEGImages/%s%s",
                       v->root_in_folder, name, ending);

    if (len < PATH_SIZE)
        return ld_arena_text(&v->store->arena, path, (size_t)len, v->err);
    too_long(v, name);
    return NULL;
}

/* The image's file: by the split's name for it, else by <filename>. If neither
 * is there, whoever opens the first will say so. */
static const char *find_image(struct voc *v, const char *id,
                              const char *file_name)
{
    static const char *const endings[] = {".jpg", ".jpeg", ".png",
                                          ".JPG", ".JPEG", ".PNG"};

    for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++)
        if (is_image(v, id, endings[i]))
            return name_image(v, id, endings[i]);
    if (is_image(v, file_name, ""))
        return name_image(v, file_name, "");
    return name_image(v, id, endings[0]);
}

static bool read_annotation(struct voc *v, const char *id,
                            struct ld_voc_file *out)
{
    char path[PATH_SIZE];
    struct ld_file file;
    bool ok;

    if (snprintf(path, sizeof(path), "%s/Annotations/%s.xml", v->root, id) >=
        PATH_SIZE)
        return too_long(v, id);
    if (!ld_file_open(path, &file, v->err))
        return false;
    sha256_update(&v->hash, file.len, file.data);
    ok = ld_voc_xml_read(path, &file, out, v->err);
    ld_file_close(&file);
    return ok;
}

static bool read_sample(struct voc *v, const char *id)
{
    struct ld_voc_file file = {.add = add_object, .user = v};
    struct ld_sample sample = {
        .id = (int64_t)(v->samples.len / sizeof(sample)),
        .first_object = (int)n_objects(v),
    };

    if (!read_annotation(v, id, &file))
        return false;
    sample.H = file.H;
    sample.W = file.W;
    sample.name = find_image(v, id, file.image_name);
    if (!sample.name)
        return false;
    judge(v, &sample);
    ld_buf_put(&v->samples, &sample, sizeof(sample));
    return ld_buf_ok(&v->samples, v->err);
}

/* --- a split --- */

/* The first word of a line names an image; the rest, and an empty line, say
 * nothing. */
static bool read_line(struct voc *v, const char *at, const char *end)
{
    char id[256];
    size_t len = 0;

    while (at < end && isspace((unsigned char)*at))
        at++;
    while (at + len < end && !isspace((unsigned char)at[len]))
        len++;
    if (len == 0)
        return true;
    if (len >= sizeof(id))
        return ld_fail(v->err, LD_ERR_FORMAT,
                       "a line names an image by more than %zu bytes",
                       sizeof(id) - 1);
    memcpy(id, at, len);
    id[len] = 0;
    return read_sample(v, id);
}

static bool read_split(struct voc *v, const char *split)
{
    char path[PATH_SIZE];
    struct ld_file file;
    const char *at, *end;
    bool ok = true;

    if (snprintf(path, sizeof(path), "%s/ImageSets/Main/%s.txt", v->root,
                 split) >= PATH_SIZE)
        return too_long(v, v->root);
    if (!ld_file_open(path, &file, v->err))
        return false;
    at = (const char *)file.data;
    end = at + file.len;
    for (int line = 1; ok && at < end; line++) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        char place[PATH_SIZE + 32];

        line_end = line_end ? line_end : end;
        ok = read_line(v, at, line_end);
        if (!ok) {
            snprintf(place, sizeof(place), "%s:%d", path, line);
            ld_fail_in(v->err, place);
        }
        at = line_end == end ? end : line_end + 1;
    }
    ld_file_close(&file);
    return ok;
}

/* --- all folders --- */

/* The next of a list joined by ':', without a slash at its end; moves the list
 * on, to NULL after the last. */
static const char *next_part(struct voc *v, const char **list)
{
    size_t len = strcspn(*list, ":"), n_kept = len;
    const char *part;

    while (n_kept > 1 && (*list)[n_kept - 1] == '/')
        n_kept--;
    part = ld_arena_text(&v->store->arena, *list, n_kept, v->err);
    *list = (*list)[len] ? *list + len + 1 : NULL;
    return part;
}

static int split_list(struct voc *v, const char *list, const char **parts)
{
    int n = 0;

    while (list && n < MAX_SOURCES && !v->err->code)
        parts[n++] = next_part(v, &list);
    if (list)
        ld_fail(v->err, LD_ERR_USAGE, "more than %d VOC folders", MAX_SOURCES);
    return n;
}

static bool ends_part(char c)
{
    return c == '/' || c == 0;
}

/* Length of the longest folder that holds every root, or is the only one. */
static size_t common_length(const char *const *roots, int n)
{
    size_t len = strlen(roots[0]);

    for (int i = 1; i < n; i++) {
        size_t same = 0;

        while (same < len && roots[i][same] == roots[0][same])
            same++;
        len = same;
        while (len > 0 &&
               !(ends_part(roots[0][len]) && ends_part(roots[i][len])))
            len--;
    }
    return len;
}

static bool read_root(struct voc *v, const char *root, size_t n_common,
                      const char *split)
{
    const char *rest = root + n_common;
    char inside[PATH_SIZE];

    while (n_common > 0 && *rest == '/')
        rest++;
    if (snprintf(inside, sizeof(inside), "%s%s", rest, *rest ? "/" : "") >=
        PATH_SIZE)
        return too_long(v, root);
    v->root = root;
    v->root_in_folder = inside;
    return read_split(v, split);
}

static bool read_roots(struct voc *v, const struct ld_dataset_source *source)
{
    const char *roots[MAX_SOURCES], *splits[MAX_SOURCES];
    int n_roots = split_list(v, source->annotations, roots);
    int n_splits = split_list(v, source->split, splits);
    size_t n_common;

    if (v->err->code)
        return false;
    if (n_splits != n_roots && n_splits != 1)
        return ld_fail(v->err, LD_ERR_USAGE,
                       "%s: %d VOC folders, but %d splits: expected as many, "
                       "or one",
                       source->annotations, n_roots, n_splits);
    n_common = common_length(roots, n_roots);
    v->store->set.folder =
        ld_arena_text(&v->store->arena, roots[0], n_common, v->err);
    for (int i = 0; i < n_roots && !v->err->code; i++)
        read_root(v, roots[i], n_common, splits[n_splits == 1 ? 0 : i]);
    return !v->err->code;
}

/* --- the data set --- */

static bool name_classes(struct voc *v, const struct ld_dataset_source *source)
{
    v->only_named = source->n_classes > 0;
    for (int i = 0; i < source->n_classes; i++) {
        const char *name = source->class_names[i];
        const char *copy =
            ld_arena_text(&v->store->arena, name, strlen(name), v->err);

        if (!copy)
            return false;
        ld_buf_put(&v->names, &copy, sizeof(copy));
    }
    return ld_buf_ok(&v->names, v->err);
}

static int by_text(const void *left, const void *right)
{
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

/* Sets the names, in the given order or else sorted, and makes the objects
 * follow them. */
static bool make_classes(struct voc *v)
{
    struct ld_dataset *set = &v->store->set;
    const char **found = (const char **)v->names.data;
    struct ld_object *objects = (struct ld_object *)v->objects.data;
    size_t n = n_names(v);

    if (!ld_dataset_make_classes(v->store, (int)n, v->err))
        return false;
    for (size_t i = 0; i < n; i++) {
        set->class_names[i] = found[i];
        set->category_id[i] = (int64_t)i + 1;
    }
    if (v->only_named || n == 0)
        return true;
    qsort(set->class_names, n, sizeof(*set->class_names), by_text);
    for (size_t i = 0; i < n_objects(v); i++) {
        const char **at =
            bsearch(&found[objects[i].class_index], set->class_names, n,
                    sizeof(*set->class_names), by_text);

        objects[i].class_index = (int32_t)(at - set->class_names);
    }
    return true;
}

static void *keep(struct voc *v, const struct ld_buf *items)
{
    void *copy = ld_arena_new(&v->store->arena, 1, items->len, v->err);

    if (copy && items->len)
        memcpy(copy, items->data, items->len);
    return copy;
}

static bool finish(struct voc *v)
{
    struct ld_dataset *set = &v->store->set;

    if (!make_classes(v))
        return false;
    set->samples = keep(v, &v->samples);
    set->n_samples = (int)(v->samples.len / sizeof(*set->samples));
    set->objects = keep(v, &v->objects);
    set->n_objects = (int)n_objects(v);
    ld_dataset_set_hash(set, &v->hash);
    return !v->err->code;
}

bool ld_voc_read(const struct ld_dataset_source *source,
                 struct ld_dataset_store *store, struct ld_err *err)
{
    struct voc v = {
        .store = store,
        .err = err,
        .samples.max = (size_t)INT_MAX * sizeof(struct ld_sample),
        .objects.max = (size_t)INT_MAX * sizeof(struct ld_object),
        .names.max = (size_t)INT_MAX * sizeof(const char *),
    };
    bool ok;

    sha256_init(&v.hash);
    ok = name_classes(&v, source) && read_roots(&v, source) && finish(&v);
    ld_buf_free(&v.samples);
    ld_buf_free(&v.objects);
    ld_buf_free(&v.names);
    return ok;
}
