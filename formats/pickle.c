#include "formats/pickle.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "formats/pickle_machine.h"
#include "formats/pickle_names.h"

enum {
    MAX_STEPS = 1 << 20,
    MAX_NAME = 128, /* bytes of a module and of a name in it */
    MAX_PROTOCOL = 5,
};

/* ---- steps: numbers and texts ---- */

static bool step_none(struct ld_machine *m, int unused)
{
    (void)unused;
    return ld_machine_push_new(m, (struct ld_py){.kind = LD_PY_NONE});
}

static bool step_bool(struct ld_machine *m, int value)
{
    return ld_machine_push_new(
        m, (struct ld_py){.kind = LD_PY_BOOL, .integer = value});
}

static bool push_int(struct ld_machine *m, int64_t integer)
{
    return ld_machine_push_new(
        m, (struct ld_py){.kind = LD_PY_INT, .integer = integer});
}

/* A number that is not negative. */
static bool step_word(struct ld_machine *m, int size)
{
    uint64_t word;

    return ld_machine_word(m, (size_t)size, &word) &&
           push_int(m, (int64_t)word);
}

static bool step_int4(struct ld_machine *m, int unused)
{
    uint64_t word;

    (void)unused;
    return ld_machine_word(m, 4, &word) && push_int(m, (int32_t)(uint32_t)word);
}

/* A length, then so many bytes of two's complement. */
static bool step_long(struct ld_machine *m, int unused)
{
    const unsigned char *bytes;
    uint64_t len, word = 0;

    (void)unused;
    if (!ld_machine_word(m, 1, &len))
        return false;
    bytes = ld_machine_take(m, len);
    if (!bytes)
        return false;
    if (len > 8) /* no size is: it is a note */
        return ld_machine_push_new(m, (struct ld_py){.kind = LD_PY_OTHER});
    if (len > 0 && bytes[len - 1] & 0x80)
        word = UINT64_MAX;
    for (size_t i = len; i-- > 0;)
        word = word << 8 | bytes[i];
    return push_int(m, (int64_t)word);
}

static bool step_float(struct ld_machine *m, int unused)
{
    const unsigned char *bytes = ld_machine_take(m, 8);
    struct ld_py value = {.kind = LD_PY_FLOAT};
    uint64_t word = 0;

    (void)unused;
    if (!bytes)
        return false;
    for (int i = 0; i < 8; i++)
        word = word << 8 | bytes[i];
    memcpy(&value.number, &word, sizeof(word));
    return ld_machine_push_new(m, value);
}

/* A text whose length is a number of `size` bytes. */
static bool step_text(struct ld_machine *m, int size)
{
    struct ld_py value = {.kind = LD_PY_TEXT};
    const unsigned char *bytes;
    uint64_t len;

    if (!ld_machine_word(m, (size_t)size, &len))
        return false;
    bytes = ld_machine_take(m, len);
    if (!bytes)
        return false;
    if (len >= INT_MAX)
        return ld_machine_bad(m, "a text of over 2 GB");
    value.n = (int)len;
    value.text = ld_arena_text(m->arena, (const char *)bytes, len, m->err);
    return value.text && ld_machine_push_new(m, value);
}

static bool step_bytes(struct ld_machine *m, int size)
{
    uint64_t len;

    return ld_machine_word(m, (size_t)size, &len) && ld_machine_take(m, len) &&
           ld_machine_push_new(m, (struct ld_py){.kind = LD_PY_OTHER});
}

/* ---- steps: containers ---- */

static bool step_mark(struct ld_machine *m, int unused)
{
    if (m->n_marks == LD_MAX_MARKS)
        return ld_machine_bad(m, "values nested too deep");
    m->marks[m->n_marks++] = m->stack.n;
    (void)unused;
    return true;
}

static bool step_empty(struct ld_machine *m, int kind)
{
    return ld_machine_push_new(m,
                               (struct ld_py){.kind = (enum ld_py_kind)kind});
}

/* The values at `items` leave the stack as a tuple. */
static bool push_tuple(struct ld_machine *m, struct ld_py **items, size_t n)
{
    struct ld_py value = {.kind = LD_PY_TUPLE, .n = (int)n};

    value.items = ld_arena_new(m->arena, n, sizeof(struct ld_py *), m->err);
    if (!value.items)
        return false;
    if (n > 0)
        memcpy(value.items, items, n * sizeof(struct ld_py *));
    return ld_machine_push_new(m, value);
}

static bool step_tuple(struct ld_machine *m, int unused)
{
    struct ld_py **items;
    size_t n;

    (void)unused;
    return ld_machine_marked(m, &items, &n) && push_tuple(m, items, n);
}

static bool step_short_tuple(struct ld_machine *m, int length)
{
    size_t n = (size_t)length;
    struct ld_py **items = ld_machine_top(m, n);

    if (!items)
        return false;
    m->stack.n -= n;
    return push_tuple(m, items, n);
}

/* Appends n pointers to a list, or n / 2 pairs to a dict. */
static bool extend(struct ld_machine *m, struct ld_py *to, struct ld_py **items,
                   size_t n)
{
    size_t each = to->kind == LD_PY_DICT ? 2 : 1;
    struct ld_py_list list = {to->items, each * (size_t)to->n,
                              (size_t)to->room};

    if (n % each != 0)
        return ld_machine_bad(m, "a key without a value");
    if (!ld_machine_reserve(m, &list, list.n + n))
        return false;
    memcpy(list.items + list.n, items, n * sizeof(struct ld_py *));
    to->items = list.items;
    to->n += (int)(n / each);
    to->room = (int)list.room;
    return true;
}

static bool fill(struct ld_machine *m, struct ld_py **items, size_t n, int kind)
{
    struct ld_py **to = ld_machine_top(m, 1);

    if (!to)
        return false;
    if ((*to)->kind == LD_PY_OTHER || n == 0)
        return true;
    if ((int)(*to)->kind != kind)
        return ld_machine_bad(m, "the pickle fills what is no list or dict");
    return extend(m, *to, items, n);
}

static bool step_fill(struct ld_machine *m, int kind)
{
    size_t n = kind == LD_PY_DICT ? 2 : 1;
    struct ld_py **items = ld_machine_top(m, n);

    if (!items)
        return false;
    m->stack.n -= n;
    return fill(m, items, n, kind);
}

static bool step_fill_marked(struct ld_machine *m, int kind)
{
    struct ld_py **items;
    size_t n;

    return ld_machine_marked(m, &items, &n) && fill(m, items, n, kind);
}

static bool step_pop(struct ld_machine *m, int unused)
{
    if (!ld_machine_top(m, 1))
        return false;
    m->stack.n--;
    (void)unused;
    return true;
}

static bool step_pop_mark(struct ld_machine *m, int unused)
{
    struct ld_py **items;
    size_t n;

    (void)unused;
    return ld_machine_marked(m, &items, &n);
}

/* ---- steps: the memo ---- */

static bool step_put(struct ld_machine *m, int size)
{
    uint64_t index;

    return ld_machine_word(m, (size_t)size, &index) && ld_machine_put(m, index);
}

static bool step_get(struct ld_machine *m, int size)
{
    uint64_t index;

    return ld_machine_word(m, (size_t)size, &index) && ld_machine_get(m, index);
}

static bool step_memoize(struct ld_machine *m, int unused)
{
    (void)unused;
    return ld_machine_put(m, m->memo.n);
}

/* ---- steps: names and what would be calls ---- */

static bool push_name(struct ld_machine *m, const char *module,
                      const char *name)
{
    int number = ld_py_name(module, name);

    if (number != LD_PY_NO_NAME)
        return ld_machine_push_new(
            m, (struct ld_py){.kind = LD_PY_NAME, .integer = number});
    return ld_fail(m->err, LD_ERR_FORMAT,
                   "%s: byte %zu: refers to Python's '%s.%s', which no "
                   "checkpoint needs: refused, nothing was run",
                   m->p->path, (size_t)(m->here - m->p->file), module, name);
}

/* A line without its newline. */
static bool take_line(struct ld_machine *m, char out[MAX_NAME])
{
    size_t len = 0;

    for (;;) {
        const unsigned char *at = ld_machine_take(m, 1);

        if (!at)
            return false;
        if (*at == '\n')
            break;
        if (len == MAX_NAME - 1 || *at == 0)
            return ld_machine_bad(m, "a name that is none");
        out[len++] = (char)*at;
    }
    out[len] = 0;
    return true;
}

static bool step_name(struct ld_machine *m, int unused)
{
    char module[MAX_NAME], name[MAX_NAME];

    (void)unused;
    return take_line(m, module) && take_line(m, name) &&
           push_name(m, module, name);
}

static bool step_stack_name(struct ld_machine *m, int unused)
{
    struct ld_py **both = ld_machine_top(m, 2);

    (void)unused;
    if (!both)
        return false;
    if (!ld_py_is_text(both[0]) || !ld_py_is_text(both[1]))
        return ld_machine_bad(m, "a name that is none");
    m->stack.n -= 2;
    return push_name(m, both[0]->text, both[1]->text);
}

/* Python 2 fills an ordered dict with a list of pairs. */
static bool fill_pairs(struct ld_machine *m, struct ld_py *dict,
                       const struct ld_py *pairs)
{
    m->n_steps += pairs->n; /* so that no list is copied without end */
    for (int i = 0; i < pairs->n && m->n_steps < MAX_STEPS; i++) {
        const struct ld_py *pair = pairs->items[i];

        if ((pair->kind != LD_PY_LIST && pair->kind != LD_PY_TUPLE) ||
            pair->n != 2)
            return ld_machine_bad(m, "an ordered dict of what are no pairs");
        if (!extend(m, dict, pair->items, 2))
            return false;
    }
    return true;
}

static bool step_call(struct ld_machine *m, int unused)
{
    struct ld_py **both = ld_machine_top(m, 2), *same, *pairs, *made, out;

    (void)unused;
    if (!both)
        return false;
    if (!ld_py_call(both[0], both[1], &out, &same, &pairs))
        return ld_machine_bad(
            m, "a call that no checkpoint needs: refused, nothing was "
               "run");
    m->stack.n -= 2;
    if (same)
        return ld_machine_push(m, same);
    made = ld_machine_make(m, out);
    return ld_machine_push(m, made) && (!pairs || fill_pairs(m, made, pairs));
}

/* State given to an object. Of an ordered dict it is the versions of layers;
 * of what nobody asks for, nobody asks for it either. */
static bool step_build(struct ld_machine *m, int unused)
{
    struct ld_py **both = ld_machine_top(m, 2);

    (void)unused;
    if (!both)
        return false;
    if (both[0]->kind != LD_PY_DICT && both[0]->kind != LD_PY_OTHER)
        return ld_machine_bad(m, "the pickle gives a state to what has none");
    m->stack.n--;
    return true;
}

static bool step_storage(struct ld_machine *m, int unused)
{
    struct ld_py **id = ld_machine_top(m, 1), *storage;

    (void)unused;
    if (!id)
        return false;
    if (!ld_py_is_storage(*id))
        return ld_machine_bad(m, "a persistent id that is no storage");
    storage = ld_machine_make(m, **id);
    if (!storage || !ld_machine_reserve(m, &m->storages, m->storages.n + 1))
        return false;
    storage->kind = LD_PY_STORAGE;
    m->storages.items[m->storages.n++] = storage;
    m->stack.n--;
    return ld_machine_push(m, storage);
}

static bool step_protocol(struct ld_machine *m, int unused)
{
    uint64_t protocol;

    (void)unused;
    return ld_machine_word(m, 1, &protocol) &&
           (protocol <= MAX_PROTOCOL ||
            ld_machine_bad(m, "a pickle of a later protocol"));
}

static bool step_frame(struct ld_machine *m, int unused)
{
    (void)unused;
    return ld_machine_take(m, 8) != NULL;
}

/* By code; pickletools.py of Python lists them. */
static const struct {
    bool (*run)(struct ld_machine *m, int argument);
    int argument;
} steps[256] = {
    [0x80] = {step_protocol, 1},
    [0x95] = {step_frame, 8},
    ['N'] = {step_none, 0},
    [0x88] = {step_bool, 1},
    [0x89] = {step_bool, 0},
    ['J'] = {step_int4, 4},
    ['K'] = {step_word, 1},
    ['M'] = {step_word, 2},
    [0x8a] = {step_long, 1},
    ['G'] = {step_float, 8},
    ['X'] = {step_text, 4},
    ['T'] = {step_text, 4},
    [0x8c] = {step_text, 1},
    ['U'] = {step_text, 1},
    ['B'] = {step_bytes, 4},
    ['C'] = {step_bytes, 1},
    ['('] = {step_mark, 0},
    ['}'] = {step_empty, LD_PY_DICT},
    [']'] = {step_empty, LD_PY_LIST},
    [')'] = {step_empty, LD_PY_TUPLE},
    [0x8f] = {step_empty, LD_PY_OTHER},
    ['t'] = {step_tuple, 0},
    [0x85] = {step_short_tuple, 1},
    [0x86] = {step_short_tuple, 2},
    [0x87] = {step_short_tuple, 3},
    ['a'] = {step_fill, LD_PY_LIST},
    ['e'] = {step_fill_marked, LD_PY_LIST},
    [0x90] = {step_fill_marked, LD_PY_OTHER},
    ['s'] = {step_fill, LD_PY_DICT},
    ['u'] = {step_fill_marked, LD_PY_DICT},
    ['0'] = {step_pop, 0},
    ['1'] = {step_pop_mark, 0},
    ['q'] = {step_put, 1},
    ['r'] = {step_put, 4},
    [0x94] = {step_memoize, 0},
    ['h'] = {step_get, 1},
    ['j'] = {step_get, 4},
    ['c'] = {step_name, 0},
    [0x93] = {step_stack_name, 0},
    ['R'] = {step_call, 0},
    [0x81] = {step_call, 0},
    ['b'] = {step_build, 0},
    ['Q'] = {step_storage, 0},
};

struct ld_py *ld_pickle_read(struct ld_pickle *p, struct ld_arena *arena,
                             struct ld_err *err)
{
    struct ld_machine m = {.p = p, .arena = arena, .err = err};

    for (;; m.n_steps++) {
        m.here = p->at;
        if (!ld_machine_take(&m, 1))
            return NULL;
        if (*m.here == '.')
            break;
        if (m.n_steps >= MAX_STEPS)
            ld_machine_bad(&m, "a pickle of over a million steps");
        else if (!steps[*m.here].run)
            ld_machine_bad(&m, "no step of a pickle as torch.save writes it");
        else if (steps[*m.here].run(&m, steps[*m.here].argument))
            continue;
        return NULL;
    }
    if (m.stack.n != 1 || m.n_marks != 0) {
        ld_machine_bad(&m, "the pickle ends with more or less than one value");
        return NULL;
    }
    p->storages = m.storages.items;
    p->n_storages = m.storages.n;
    return m.stack.items[0];
}
