#include "tests/golden_rows.h"

#include <stdio.h>

const char *golden_level(const char *stem, int level)
{
    static char name[4][64];
    static int next;

    next = (next + 1) % 4;
    snprintf(name[next], sizeof(name[next]), "%s_%d", stem, level);
    return name[next];
}

/* Where a pixel of a level's maps stands among the rows. */
static size_t row_of(const struct ld_grid *grid, int level, size_t C, size_t i)
{
    size_t places = (size_t)(grid->start[level + 1] - grid->start[level]);
    size_t A = (size_t)grid->start[grid->n_levels];
    size_t n = i / (C * places), c = i / places % C;

    return (n * A + (size_t)grid->start[level] + i % places) * C + c;
}

void golden_read_rows(struct golden *g, float *rows, const char *stem,
                      const struct ld_grid *grid, int N, size_t C)
{
    for (int level = 0; level < grid->n_levels; level++) {
        size_t count = (size_t)N * C *
                       (size_t)(grid->start[level + 1] - grid->start[level]);
        const float *map = golden_floats(g, golden_level(stem, level), count);

        for (size_t i = 0; i < count; i++)
            rows[row_of(grid, level, C, i)] = map[i];
    }
}

void golden_compare_rows(struct golden *g, const float *rows, const char *stem,
                         const struct ld_grid *grid, int N, size_t C,
                         double relative)
{
    for (int level = 0; level < grid->n_levels; level++) {
        size_t count = (size_t)N * C *
                       (size_t)(grid->start[level + 1] - grid->start[level]);
        float *map =
            ld_arena_new(&g->arena, count, sizeof(*map), &(struct ld_err){0});

        for (size_t i = 0; i < count; i++)
            map[i] = rows[row_of(grid, level, C, i)];
        golden_compare(g, golden_level(stem, level), map, count, relative);
    }
}
