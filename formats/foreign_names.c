#include "formats/foreign_names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NAME = 512 };

static bool begins(const char *name, const char *with)
{
    return strncmp(name, with, strlen(with)) == 0;
}

static bool ends(const char *name, const char *with)
{
    size_t len = strlen(name), n = strlen(with);

    return len >= n && strcmp(name + len - n, with) == 0;
}

/* Counters of a BatchNorm; the distances of the bins, which never change. */
static bool is_of_no_use(const char *name)
{
    return ends(name, "num_batches_tracked") ||
           strcmp(name, "bbox_head.integral.project") == 0;
}

/* Where all names begin after a wrapper's prefix. */
static size_t common_prefix(const struct ld_foreign *f)
{
    static const char module[] = "module.";

    for (int i = 0; i < f->n_tensors; i++)
        if (!begins(f->tensors[i].name, module))
            return 0;
    return sizeof(module) - 1;
}

static bool is_bare_backbone(const struct ld_foreign *f, size_t skip)
{
    bool has_block = false;

    for (int i = 0; i < f->n_tensors; i++) {
        const char *name = f->tensors[i].name + skip;

        if (begins(name, "backbone.") || begins(name, "neck.") ||
            begins(name, "bbox_head."))
            return false;
        has_block = has_block || strcmp(name, "layer1.0.conv1.weight") == 0;
    }
    return has_block;
}

/* The name as mmdetection has it. */
static const char *rename_one(const char *name, bool bare,
                              struct ld_arena *arena, struct ld_err *err)
{
    static const char old[] = ".conv2_offset.";
    const char *offset = strstr(name, old);
    char full[MAX_NAME];
    int len;

    if (!bare && !offset)
        return name;
    if (offset)
        len = snprintf(full, sizeof(full), "%s%.*s.conv2.conv_offset.%s",
                       bare ? "backbone." : "", (int)(offset - name), name,
                       offset + sizeof(old) - 1);
    else
        len = snprintf(full, sizeof(full), "backbone.%s", name);
    if (len >= MAX_NAME) {
        ld_fail(err, LD_ERR_FORMAT, "'%s': too long for a name", name);
        return NULL;
    }
    return ld_arena_text(arena, full, (size_t)len, err);
}

static int by_name(const void *a, const void *b)
{
    const struct ld_tensor *x = a, *y = b;

    return strcmp(x->name, y->name);
}

bool ld_foreign_rename(struct ld_foreign *f, const char *path,
                       struct ld_arena *arena, struct ld_err *err)
{
    size_t skip = common_prefix(f);
    bool bare = is_bare_backbone(f, skip);
    int n = 0;

    for (int i = 0; i < f->n_tensors; i++) {
        struct ld_tensor t = f->tensors[i];
        const char *name = t.name + skip;

        if (is_of_no_use(name) || (bare && begins(name, "fc.")))
            continue;
        t.name = rename_one(name, bare, arena, err);
        if (!t.name)
            return ld_fail_in(err, path);
        f->tensors[n++] = t;
    }
    f->n_tensors = n;
    if (n > 0)
        qsort(f->tensors, (size_t)n, sizeof(*f->tensors), by_name);
    for (int i = 1; i < n; i++)
        if (by_name(&f->tensors[i - 1], &f->tensors[i]) == 0)
            return ld_fail(err, LD_ERR_FORMAT, "%s: '%s' stands in it twice",
                           path, f->tensors[i].name);
    return true;
}
