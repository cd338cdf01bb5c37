#include "formats/pickle_machine.h"

#include <string.h>

bool ld_machine_bad(struct ld_machine *m, const char *what)
{
    return ld_fail(m->err, LD_ERR_FORMAT, "%s: byte %zu: %s", m->p->path,
                   (size_t)(m->here - m->p->file), what);
}

const unsigned char *ld_machine_take(struct ld_machine *m, uint64_t n)
{
    const unsigned char *at = m->p->at;

    if (n > (uint64_t)(m->p->end - at)) {
        ld_machine_bad(m, "the pickle is cut short");
        return NULL;
    }
    m->p->at += n;
    return at;
}

bool ld_machine_word(struct ld_machine *m, size_t size, uint64_t *out)
{
    const unsigned char *at = ld_machine_take(m, size);

    *out = 0;
    for (size_t i = size; at && i-- > 0;)
        *out = *out << 8 | at[i];
    return at != NULL;
}

bool ld_machine_reserve(struct ld_machine *m, struct ld_py_list *list,
                        size_t room)
{
    size_t grown = 2 * list->room > room ? 2 * list->room : room + 14;
    struct ld_py **items;

    if (room <= list->room)
        return true;
    items = ld_arena_new(m->arena, grown, sizeof(struct ld_py *), m->err);
    if (!items)
        return false;
    if (list->n > 0)
        memcpy(items, list->items, list->n * sizeof(struct ld_py *));
    list->items = items;
    list->room = grown;
    return true;
}

bool ld_machine_push(struct ld_machine *m, struct ld_py *value)
{
    if (!value || !ld_machine_reserve(m, &m->stack, m->stack.n + 1))
        return false;
    m->stack.items[m->stack.n++] = value;
    return true;
}

struct ld_py *ld_machine_make(struct ld_machine *m, struct ld_py value)
{
    struct ld_py *made = ld_arena_new(m->arena, 1, sizeof(*made), m->err);

    if (made)
        *made = value;
    return made;
}

bool ld_machine_push_new(struct ld_machine *m, struct ld_py value)
{
    return ld_machine_push(m, ld_machine_make(m, value));
}

struct ld_py **ld_machine_top(struct ld_machine *m, size_t n)
{
    size_t floor = m->n_marks > 0 ? m->marks[m->n_marks - 1] : 0;

    if (m->stack.n - floor < n) {
        ld_machine_bad(m, "the pickle takes a value that is not there");
        return NULL;
    }
    return m->stack.items + m->stack.n - n;
}

bool ld_machine_marked(struct ld_machine *m, struct ld_py ***items, size_t *n)
{
    if (m->n_marks == 0)
        return ld_machine_bad(m, "the pickle takes a mark that is not there");
    m->n_marks--;
    *n = m->stack.n - m->marks[m->n_marks];
    m->stack.n = m->marks[m->n_marks];
    *items = m->stack.items + m->stack.n;
    return true;
}

bool ld_machine_put(struct ld_machine *m, uint64_t index)
{
    struct ld_py **value = ld_machine_top(m, 1);

    if (!value)
        return false;
    /* Writers count from 0: so no index is above the steps done. */
    if (index > (uint64_t)m->n_steps)
        return ld_machine_bad(m, "the pickle numbers a value too high");
    if (!ld_machine_reserve(m, &m->memo, index + 1))
        return false;
    m->memo.items[index] = *value;
    if (m->memo.n <= index)
        m->memo.n = index + 1;
    return true;
}

bool ld_machine_get(struct ld_machine *m, uint64_t index)
{
    if (index >= m->memo.n || !m->memo.items[index])
        return ld_machine_bad(m, "the pickle recalls a value it has not kept");
    return ld_machine_push(m, m->memo.items[index]);
}
