#include <string.h>

#include "formats/pickle.h"
#include "formats/utf8.h"

struct ld_py *ld_py_get(const struct ld_py *dict, const char *key)
{
    if (dict->kind != LD_PY_DICT)
        return NULL;
    for (int i = 0; i < dict->n; i++) {
        const struct ld_py *k = dict->items[2 * i];

        if (k->kind == LD_PY_TEXT && strcmp(k->text, key) == 0)
            return dict->items[2 * i + 1];
    }
    return NULL;
}

bool ld_py_is_text(const struct ld_py *value)
{
    const char *at = value->text, *end;

    if (value->kind != LD_PY_TEXT)
        return false;
    end = at + value->n;
    while (at < end) {
        size_t len = (signed char)*at > 0 ? 1 : ld_utf8_length(at, end);

        if (len == 0)
            return false;
        at += len;
    }
    return true;
}
