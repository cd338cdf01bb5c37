#include "formats/pth_storage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/pickle_names.h"

enum { MAX_ENTRY_NAME = 512 };

static bool bad(struct ld_pth *pth, const char *what)
{
    return ld_fail(pth->err, LD_ERR_FORMAT, "%s: %s", pth->path, what);
}

/* ---- zip ---- */

static bool ends_with(const char *text, const char *tail)
{
    size_t len = strlen(text), n = strlen(tail);

    return len >= n && strcmp(text + len - n, tail) == 0;
}

/* The folder that data.pkl lies in, with its slash. */
static bool find_folder(struct ld_pth *pth)
{
    static const char tail[] = "/data.pkl";
    const char *found = NULL;

    for (size_t i = 0; i < pth->zip.n; i++) {
        const char *name = pth->zip.entries[i].name;

        if (ends_with(name, "/constants.pkl"))
            return bad(pth, "is a TorchScript program: expected a state_dict "
                            "as torch.save writes it");
        if (ends_with(name, tail) && !found)
            found = name;
    }
    if (!found || strlen(found) >= MAX_ENTRY_NAME / 2)
        return bad(pth, "is a zip archive without a folder with data.pkl in "
                        "it: not written by torch.save");
    pth->folder = ld_arena_text(pth->arena, found,
                                strlen(found) - strlen("data.pkl"), pth->err);
    return pth->folder != NULL;
}

/* NULL, with `err` as it was, if there is no such entry. */
static const unsigned char *read_entry(struct ld_pth *pth, const char *folder,
                                       const char *name, uint64_t *size)
{
    char full[MAX_ENTRY_NAME];
    struct ld_zip_entry *entry;
    int len = snprintf(full, sizeof(full), "%s%s%s", pth->folder, folder, name);

    if (len >= MAX_ENTRY_NAME)
        return NULL;
    entry = ld_zip_find(&pth->zip, full);
    if (!entry)
        return NULL;
    *size = entry->size;
    return ld_zip_read(&pth->zip, entry, pth->err);
}

static bool read_byte_order(struct ld_pth *pth)
{
    uint64_t size;
    const unsigned char *order = read_entry(pth, "", "byteorder", &size);

    if (!order)
        return pth->err->code == LD_OK;
    pth->big_endian = size == 3 && memcmp(order, "big", 3) == 0;
    return pth->big_endian || (size == 6 && memcmp(order, "little", 6) == 0) ||
           bad(pth, "its byteorder is neither little nor big");
}

static bool open_zip(struct ld_pth *pth)
{
    struct ld_pickle pickle = {.file = pth->file->data, .path = pth->path};
    uint64_t size;

    if (!ld_zip_open(&pth->zip, pth->file, pth->path, pth->arena, pth->err) ||
        !find_folder(pth) || !read_byte_order(pth))
        return false;
    pickle.at = read_entry(pth, "", "data.pkl", &size);
    if (!pickle.at)
        return false;
    pickle.end = pickle.at + size;
    pth->object = ld_pickle_read(&pickle, pth->arena, pth->err);
    return pth->object != NULL;
}

/* ---- the older format ---- */

static int by_key(const void *a, const void *b)
{
    const struct ld_pth_bytes *x = a, *y = b;

    return strcmp(x->key, y->key);
}

/* What the object says of its storages: key and bytes. */
static bool list_storages(struct ld_pth *pth, const struct ld_pickle *pickle)
{
    size_t n = 0;

    pth->storage = ld_arena_new(pth->arena, pickle->n_storages,
                                sizeof(*pth->storage), pth->err);
    if (!pth->storage)
        return false;
    for (size_t i = 0; i < pickle->n_storages; i++) {
        struct ld_py **items = pickle->storages[i]->items;
        enum ld_element type = LD_F32;
        uint64_t size;

        ld_py_element(items[1], &type);
        if (__builtin_mul_overflow(items[4]->integer, ld_element_size(type),
                                   &size))
            return bad(pth, "a storage of less than no bytes");
        pth->storage[i] =
            (struct ld_pth_bytes){.key = items[2]->text,
                                  .size = size,
                                  .count = (uint64_t)items[4]->integer};
    }
    n = pickle->n_storages;
    if (n > 0)
        qsort(pth->storage, n, sizeof(*pth->storage), by_key);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || by_key(&pth->storage[i - 1], &pth->storage[i]) != 0)
            pth->storage[pth->n_storages++] = pth->storage[i];
    return true;
}

static struct ld_pth_bytes *find_bytes(const struct ld_pth *pth,
                                       const char *key)
{
    struct ld_pth_bytes wanted = {.key = key};

    return pth->n_storages == 0
               ? NULL
               : bsearch(&wanted, pth->storage, pth->n_storages,
                         sizeof(*pth->storage), by_key);
}

/* The numbers a storage counts before its bytes. */
static uint64_t count_at(const unsigned char *at)
{
    uint64_t count = 0;

    for (int i = 8; i-- > 0;)
        count = count << 8 | at[i];
    return count;
}

/* The bytes of the storages, in the order of their keys. */
static bool place_storages(struct ld_pth *pth, struct ld_pickle *pickle,
                           const struct ld_py *keys)
{
    const unsigned char *at = pickle->at;

    if (keys->kind != LD_PY_LIST)
        return bad(pth, "has no list of storages");
    for (int i = 0; i < keys->n; i++) {
        struct ld_pth_bytes *storage =
            ld_py_is_text(keys->items[i])
                ? find_bytes(pth, keys->items[i]->text)
                : NULL;

        if (!storage)
            return bad(pth, "lists a storage that no tensor has");
        if ((uint64_t)(pickle->end - at) < 8 ||
            (uint64_t)(pickle->end - at) - 8 < storage->size)
            return ld_fail(pth->err, LD_ERR_FORMAT,
                           "%s: storage '%s' passes the end of the file",
                           pth->path, storage->key);
        if (count_at(at) != storage->count)
            return ld_fail(pth->err, LD_ERR_FORMAT,
                           "%s: storage '%s' is of another length than its "
                           "tensors say",
                           pth->path, storage->key);
        storage->data = at + 8;
        at += 8 + storage->size;
    }
    return at == pickle->end || bad(pth, "goes on behind its last storage");
}

static bool open_legacy(struct ld_pth *pth)
{
    struct ld_pickle pickle = {.at = pth->file->data,
                               .end = pth->file->data + pth->file->len,
                               .file = pth->file->data,
                               .path = pth->path};
    const struct ld_py *protocol, *keys;

    /* The magic number, the protocol and the facts of the system. */
    if (!ld_pickle_read(&pickle, pth->arena, pth->err))
        return false;
    protocol = ld_pickle_read(&pickle, pth->arena, pth->err);
    if (!protocol)
        return false;
    if (protocol->kind != LD_PY_INT || protocol->integer != 1001)
        return bad(pth, "is of another protocol of torch.save than 1001");
    if (!ld_pickle_read(&pickle, pth->arena, pth->err))
        return false;
    pth->object = ld_pickle_read(&pickle, pth->arena, pth->err);
    if (!pth->object || !list_storages(pth, &pickle))
        return false;
    keys = ld_pickle_read(&pickle, pth->arena, pth->err);
    return keys && place_storages(pth, &pickle, keys);
}

/* ---- either ---- */

bool ld_pth_open(struct ld_pth *pth)
{
    pth->is_zip = ld_zip_is(pth->file);
    return pth->is_zip ? open_zip(pth) : open_legacy(pth);
}

bool ld_pth_find(struct ld_pth *pth, const char *key, struct ld_pth_bytes *out)
{
    const struct ld_pth_bytes *found;

    *out = (struct ld_pth_bytes){.key = key};
    if (pth->is_zip) {
        out->data = read_entry(pth, "data/", key, &out->size);
    } else {
        found = find_bytes(pth, key);
        if (found)
            *out = *found;
    }
    return out->data || ld_fail(pth->err, LD_ERR_FORMAT,
                                "%s: storage '%s' is missing", pth->path, key);
}
