/* bench_json.c - seconds and memory that reading COCO annotations takes:
 * bench-json FILE prints the median of five readings. */
#include <stdio.h>
#include <stdlib.h>

#include "formats/dataset.h"
#include "kernels/base/progress.h"

enum { ROUNDS = 5 };

static int by_size(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static bool run(const char *path, double *seconds, struct ld_err *err)
{
    struct ld_dataset_source source = {
        .kind = LD_DATASET_COCO, .annotations = path, .images = ""};
    double start = ld_seconds();
    struct ld_dataset *set = ld_dataset_read(&source, err);

    *seconds = ld_seconds() - start;
    if (set)
        printf("%d images, %d boxes: %.2f s\n", set->n_samples, set->n_objects,
               *seconds);
    ld_dataset_free(set);
    return set != NULL;
}

int main(int argc, char **argv)
{
    struct ld_err err = {0};
    double seconds[ROUNDS], peak = 0;
    char memory[16];
    bool ok =
        argc == 2 || ld_fail(&err, LD_ERR_USAGE, "usage: bench-json FILE");

    for (int i = 0; ok && i < ROUNDS; i++) {
        ok = run(argv[1], &seconds[i], &err);
        peak = i > 0 ? peak : ld_peak_memory(); /* later ones share a heap */
    }
    if (!ok) {
        fprintf(stderr, "bench-json: %s\n", err.text);
        return (int)err.code;
    }
    qsort(seconds, ROUNDS, sizeof(seconds[0]), by_size);
    ld_bytes_text(memory, peak);
    printf("annotations    median %.2f s, peak memory %s\n",
           seconds[ROUNDS / 2], memory);
    return 0;
}
