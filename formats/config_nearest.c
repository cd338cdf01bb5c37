#include <string.h>

#include "formats/config_table.h"

static int least(int a, int b, int c)
{
    int ab = a < b ? a : b;

    return ab < c ? ab : c;
}

/* Levenshtein's distance; both shorter than 64 characters. */
static int distance(const char *a, const char *b)
{
    int row[64];
    int n = (int)strlen(b);

    for (int j = 0; j <= n; j++)
        row[j] = j;
    for (int i = 1; a[i - 1]; i++) {
        int diagonal = row[0];

        row[0] = i;
        for (int j = 1; j <= n; j++) {
            int above = row[j];

            row[j] = least(above + 1, row[j - 1] + 1,
                           diagonal + (a[i - 1] != b[j - 1]));
            diagonal = above;
        }
    }
    return row[n];
}

static const char *last_part(const char *key)
{
    const char *dot = strrchr(key, '.');

    return dot ? dot + 1 : key;
}

/* More edits than a third of a word make another word. */
static int most_edits(const char *word)
{
    return 1 + (int)strlen(word) / 4;
}

const char *ld_setting_nearest(const char *key)
{
    const char *best = NULL;
    int fewest = most_edits(last_part(key)) + 1;

    if (strlen(key) >= 64)
        return NULL;
    for (int i = 0; i < ld_n_settings; i++) {
        const char *known = ld_settings_table[i].key;
        int whole = distance(key, known);
        int part = 1 + distance(last_part(key), last_part(known));
        int edits = whole < part ? whole : part;

        if (edits < fewest) {
            fewest = edits;
            best = known;
        }
    }
    return best;
}

const char *ld_word_nearest(const char *word, const char *const *words)
{
    const char *best = NULL;
    int fewest = most_edits(word) + 1;

    if (strlen(word) >= 64)
        return NULL;
    for (; *words; words++) {
        int edits = distance(word, *words);

        if (edits < fewest) {
            fewest = edits;
            best = *words;
        }
    }
    return best;
}
