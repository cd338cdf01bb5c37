#include "tests/golden.h"

#include "formats/file.h"

#include <check.h>
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_LINE = 1024 };

/* Ends the running test. */
static void give_up(const struct golden *g, const char *what)
{
    ck_abort_msg("%s: %s", g->name, what);
}

static void *room(struct golden *g, size_t count, size_t size)
{
    struct ld_err err = {0};
    void *memory = ld_arena_new(&g->arena, count, size, &err);

    if (!memory)
        give_up(g, err.text);
    return memory;
}

/* --- instances --- */

static void shared_folder(char out[1024])
{
    const char *shared = getenv("LD_SHARED"), *tests = getenv("LD_TESTS");

    if (shared && *shared)
        snprintf(out, 1024, "%s", shared);
    else
        snprintf(out, 1024, "%s/../../shared", tests ? tests : "tests");
}

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static void run_instance(const char *folder, const char *case_name,
                         const char *instance, void (*fn)(struct golden *g))
{
    struct golden g = {0};

    snprintf(g.folder, sizeof(g.folder), "%s/%s", folder, instance);
    snprintf(g.name, sizeof(g.name), "%s/%s", case_name, instance);
    fn(&g);
    ld_arena_free(&g.arena);
}

/* Runs the instances of one folder, in the order of their names. */
static int run_folder(const char *folder, const char *case_name,
                      void (*fn)(struct golden *g))
{
    struct dirent **entries = NULL;
    int n = scandir(folder, &entries, is_visible, alphasort), n_run = 0;

    for (int i = 0; i < n; i++) {
        char path[1400];

        snprintf(path, sizeof(path), "%s/%s/case.json", folder,
                 entries[i]->d_name);
        if (access(path, R_OK) == 0) {
            run_instance(folder, case_name, entries[i]->d_name, fn);
            n_run++;
        }
        free(entries[i]);
    }
    free(entries);
    return n_run;
}

int golden_each(const char *case_name, void (*fn)(struct golden *g))
{
    const char *tests = getenv("LD_TESTS");
    char shared[1024], folder[1100];
    int n;

    shared_folder(shared);
    snprintf(folder, sizeof(folder), "%s/golden/%s", shared, case_name);
    n = run_folder(folder, case_name, fn);
    if (n == 0) {
        snprintf(folder, sizeof(folder), "%s/golden/%s",
                 tests && *tests ? tests : "tests", case_name);
        n = run_folder(folder, case_name, fn);
    }
    if (n == 0)
        ck_abort_msg("%s: no instance in %s/golden or in tests/golden",
                     case_name, shared);
    return n;
}

const char *shared_path(struct golden *g, const char *relative)
{
    char shared[1024], *path = room(g, 2048, 1);

    shared_folder(shared);
    snprintf(path, 2048, "%s/%s", shared, relative);
    return access(path, R_OK) == 0 ? path : NULL;
}

/* --- generated values: case.json's "generator" --- */

static double uniform(uint32_t stream, uint32_t k)
{
    uint32_t h = k * 2654435761U + stream * 2246822519U + 374761393U;

    h = (h ^ h >> 15) * 2246822519U;
    h = (h ^ h >> 13) * 3266489917U;
    h ^= h >> 16;
    return (h >> 8) * 0x1p-24;
}

static double gauss(uint32_t stream, uint32_t k)
{
    double sum = 0;

    for (uint32_t j = 0; j < 4; j++)
        sum += uniform(stream, 4 * k + j);
    return (sum - 2) * 1.7320508075688772;
}

const float *golden_gauss(struct golden *g, uint32_t stream, size_t count)
{
    float *values = room(g, count, sizeof(*values));

    for (size_t k = 0; k < count; k++)
        values[k] = (float)gauss(stream, (uint32_t)k);
    return values;
}

struct formula {
    bool gaussian;
    uint32_t stream;
    double a, b; /* offset and factor; both NaN: 0, 1, 2, ... */
};

static const float *evaluate(struct golden *g, struct formula f, size_t count)
{
    float *values = room(g, count, sizeof(*values));

    for (size_t i = 0; i < count; i++) {
        uint32_t k = (uint32_t)i;
        double draw = f.gaussian ? gauss(f.stream, k) : uniform(f.stream, k);

        values[i] = isnan(f.a) ? (float)i : (float)(f.a + f.b * draw);
    }
    return values;
}

static void set_count(struct golden_array *array)
{
    array->count = 1;
    for (int i = 0; i < array->n_dims; i++)
        array->count *= (size_t)array->dim[i];
}

/* --- weights.txt: name dtype n_dims dims... stream a b --- */

static bool next_word(char **line, char **word)
{
    *word = strtok_r(NULL, " \t\n", line);
    return *word != NULL;
}

static bool next_value(char **line, double *value)
{
    char *word, *end;

    if (!next_word(line, &word))
        return false;
    *value = strtod(word, &end);
    return *end == 0;
}

static bool read_shape(char **line, struct golden_array *array)
{
    double n, dim;

    if (!next_value(line, &n) || n < 0 || n > 8)
        return false;
    array->n_dims = (int)n;
    for (int i = 0; i < array->n_dims; i++) {
        if (!next_value(line, &dim))
            return false;
        array->dim[i] = (int)dim;
    }
    set_count(array);
    return true;
}

/* What follows the name. */
static bool read_entry(char **line, struct golden_array *array,
                       struct formula *f)
{
    char *type;
    double stream;

    if (!next_word(line, &type) || !read_shape(line, array) ||
        !next_value(line, &stream) || !next_value(line, &f->a) ||
        !next_value(line, &f->b))
        return false;
    array->dtype = strcmp(type, "int64") == 0 ? 'i' : 'f';
    f->stream = (uint32_t)stream;
    return true;
}

static void fill(struct golden *g, struct golden_array *array, struct formula f)
{
    if (array->dtype == 'i')
        array->data = room(g, array->count, sizeof(int64_t));
    else
        array->data = evaluate(g, f, array->count);
}

/* Counts the entries of the file, or those of one name, and generates them if
 * `names` and `arrays` are not NULL. */
static int read_weights(struct golden *g, const char *file, const char *only,
                        const char **names, struct golden_array *arrays)
{
    char path[1100], line[MAX_LINE], *at, *name;
    FILE *f;
    int n = 0;

    snprintf(path, sizeof(path), "%s/%s", g->folder, file);
    f = fopen(path, "r");
    while (f && fgets(line, sizeof(line), f)) {
        struct golden_array array = {0};
        struct formula formula = {0};

        name = strtok_r(line, " \t\n", &at);
        if (!name || name[0] == '#' || (only && strcmp(name, only) != 0))
            continue;
        if (!read_entry(&at, &array, &formula))
            give_up(g, "weights: a line is malformed");
        if (arrays) {
            names[n] = strcpy(room(g, strlen(name) + 1, 1), name);
            fill(g, &array, formula);
            arrays[n] = array;
        }
        n++;
    }
    if (f)
        fclose(f);
    return n;
}

static int all_weights(struct golden *g, const char *file,
                       const char *const **names,
                       const struct golden_array **arrays)
{
    size_t n = (size_t)read_weights(g, file, NULL, NULL, NULL);
    const char **all_names = room(g, n, sizeof(*all_names));
    struct golden_array *all_arrays = room(g, n, sizeof(*all_arrays));

    if (n == 0)
        give_up(g, "weights: none");
    *names = all_names;
    *arrays = all_arrays;
    return read_weights(g, file, NULL, all_names, all_arrays);
}

int golden_weights(struct golden *g, const char *const **names,
                   const struct golden_array **arrays)
{
    return all_weights(g, "weights.txt", names, arrays);
}

int golden_teacher_weights(struct golden *g, const char *const **names,
                           const struct golden_array **arrays)
{
    return all_weights(g, "teacher_weights.txt", names, arrays);
}

/* --- generated_inputs: {kind, stream, shape, params} --- */

static double input_number(struct golden *g, const char *name, const char *rest)
{
    char path[512];

    snprintf(path, sizeof(path), "generated_inputs.%s.%s", name, rest);
    return golden_number(g, path);
}

static bool has_input(struct golden *g, const char *name, const char *rest)
{
    char path[512];

    snprintf(path, sizeof(path), "generated_inputs.%s%s", name, rest);
    return golden_has_value(g, path);
}

static struct golden_array generate_input(struct golden *g, const char *name)
{
    struct golden_array array = {.dtype = 'f'};
    struct formula f = {0};
    char path[512], rest[32];

    snprintf(path, sizeof(path), "generated_inputs.%s.kind", name);
    f.gaussian = strcmp(golden_string(g, path), "gauss") == 0;
    f.stream = (uint32_t)input_number(g, name, "stream");
    f.a = input_number(g, name, "params.0");
    f.b = input_number(g, name, "params.1");
    for (int i = 0; i < 8; i++) {
        snprintf(rest, sizeof(rest), ".shape.%d", i);
        if (!has_input(g, name, rest))
            break;
        array.dim[array.n_dims++] = (int)input_number(g, name, rest + 1);
    }
    set_count(&array);
    array.data = evaluate(g, f, array.count);
    return array;
}

/* --- .npy: magic, version, header length, a Python dictionary, the data --- */

static bool set_type(struct golden_array *array, const char *header,
                     size_t *size)
{
    static const struct {
        const char *descr;
        char dtype;
        size_t size;
    } types[] = {{"'<f4'", 'f', 4}, {"'<f8'", 'd', 8}, {"'<i8'", 'i', 8},
                 {"'<i4'", 'w', 4}, {"'|u1'", 'u', 1}, {"'|b1'", 'b', 1}};

    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (!strstr(header, types[i].descr))
            continue;
        array->dtype = types[i].dtype;
        *size = types[i].size;
        return true;
    }
    return false;
}

static bool set_dims(struct golden_array *array, const char *header)
{
    const char *at = strstr(header, "'shape': (");
    char *end;

    if (!at || strstr(header, "'fortran_order': True"))
        return false;
    at += strlen("'shape': (");
    while (*at != ')' && array->n_dims < 8) {
        array->dim[array->n_dims++] = (int)strtol(at, &end, 10);
        if (end == at)
            return false;
        at = end + strspn(end, ", ");
    }
    set_count(array);
    return *at == ')';
}

static bool read_npy(struct golden *g, struct ld_file file,
                     struct golden_array *array)
{
    char header[1024] = {0};
    size_t begin = 10, size, bytes;
    void *data;

    if (file.len < 12 || memcmp(file.data, "\x93NUMPY\x01", 7) != 0)
        return false;
    begin += file.data[8] | (size_t)file.data[9] << 8;
    if (begin > file.len || begin - 10 >= sizeof(header))
        return false;
    memcpy(header, file.data + 10, begin - 10);
    if (!set_type(array, header, &size) || !set_dims(array, header))
        return false;
    bytes = array->count * size;
    if (file.len - begin != bytes)
        return false;
    data = room(g, array->count, size);
    memcpy(data, file.data + begin, bytes);
    array->data = data;
    return true;
}

/* --- arrays --- */

static void npy_path(struct golden *g, const char *name, char out[1400])
{
    snprintf(out, 1400, "%s/%s.npy", g->folder, name);
}

bool golden_has(struct golden *g, const char *name)
{
    char path[1400];

    npy_path(g, name, path);
    return access(path, R_OK) == 0 || has_input(g, name, "") ||
           read_weights(g, "weights.txt", name, NULL, NULL) > 0;
}

struct golden_array golden_array(struct golden *g, const char *name)
{
    struct golden_array array = {0};
    struct ld_file file = {0};
    struct ld_err err = {0};
    const char *names[1];
    char path[1400];

    npy_path(g, name, path);
    if (access(path, R_OK) == 0) {
        if (!ld_file_open(path, &file, &err))
            give_up(g, err.text);
        if (!read_npy(g, file, &array))
            ck_abort_msg("%s: not a .npy of a known kind", path);
        ld_file_close(&file);
    } else if (has_input(g, name, "")) {
        array = generate_input(g, name);
    } else if (read_weights(g, "weights.txt", name, names, &array) == 0) {
        ck_abort_msg("%s: no array '%s'", g->name, name);
    }
    return array;
}

const float *golden_floats(struct golden *g, const char *name, size_t count)
{
    struct golden_array array = golden_array(g, name);

    ck_assert_msg(array.dtype == 'f', "%s: '%s' is not float32", g->name, name);
    ck_assert_msg(array.count == count, "%s: '%s' has %zu values, not %zu",
                  g->name, name, array.count, count);
    return array.data;
}

void golden_compare(struct golden *g, const char *name, const float *got,
                    size_t count, double relative)
{
    const float *want = golden_floats(g, name, count);
    double tolerance = 10 * golden_rounding(g, name), largest = 0, worst = 0;
    size_t n_wrong = 0, i_worst = 0;

    for (size_t i = 0; i < count; i++)
        largest = fmax(largest, fabs((double)want[i]));
    tolerance = fmax(tolerance, relative * largest);
    for (size_t i = 0; i < count; i++) {
        double gap = fabs((double)got[i] - (double)want[i]);

        if (gap <= tolerance) /* false for NaN */
            continue;
        n_wrong++;
        if (n_wrong == 1 || gap > worst) {
            worst = gap;
            i_worst = i;
        }
    }
    ck_assert_msg(n_wrong == 0,
                  "%s: %s: %zu of %zu values differ; worst at %zu: got %.9g, "
                  "want %.9g, tolerance %.3g",
                  g->name, name, n_wrong, count, i_worst, (double)got[i_worst],
                  (double)want[i_worst], tolerance);
}
