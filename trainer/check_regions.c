#include "trainer/check_regions.h"

#include <stdio.h>
#include <stdlib.h>

static bool in_region(uint8_t kind, int region)
{
    return region == LD_REGION_MAIN  ? kind & LD_ROW_MAIN
           : region == LD_REGION_VLR ? kind & LD_ROW_VLR
                                     : true;
}

static void count_missed(struct ld_check_regions *sum,
                         const struct ld_batch_image *image, uint8_t *found)
{
    const struct ld_assignment *a = &image->assignment;

    for (int i = 0; i < a->n_rows; i++)
        if (a->rows[i].kind & LD_ROW_MAIN)
            found[a->rows[i].object] = 1;
    for (int i = 0; i < image->n_boxes; i++)
        sum->n_missed += !found[i];
    sum->n_boxes += image->n_boxes;
}

static void add_image(struct ld_check_regions *sum,
                      const struct ld_batch_image *image)
{
    const struct ld_assignment *a = &image->assignment;
    struct ld_grid grid = ld_grid_with_head(
        ld_grid_of_canvas(image->view.canvas_H, image->view.canvas_W),
        sum->head);

    for (int region = 0; region < LD_REGION_IMITATED; region++) {
        int32_t n = 0;

        for (int i = 0; i < a->n_rows; i++)
            if (in_region(a->rows[i].kind, region)) {
                sum->count[region][ld_grid_level(&grid, a->rows[i].location)]++;
                n++;
            }
        ld_buf_put(&sum->per_image[region], &n, sizeof(n));
    }
    for (int i = 0; i < image->region.n; i++)
        sum->count[LD_REGION_IMITATED]
                  [ld_grid_level(&grid, image->region.location[i])]++;
    ld_buf_put(&sum->per_image[LD_REGION_IMITATED], &image->region.n,
               sizeof(image->region.n));
    sum->n_imitated += image->region.n;
    sum->n_images++;
}

bool ld_check_regions_add(struct ld_check_regions *sum,
                          const struct ld_batch *batch, struct ld_err *err)
{
    for (int region = 0; region < LD_N_REGIONS; region++)
        sum->per_image[region].max = (size_t)1 << 30;
    for (int i = 0; i < batch->N; i++) {
        const struct ld_batch_image *image = &batch->images[i];
        uint8_t *found = ld_new((size_t)image->n_boxes + 1, 1, err);

        if (!found)
            return false;
        count_missed(sum, image, found);
        add_image(sum, image);
        ld_delete(found);
    }
    for (int region = 0; region < LD_N_REGIONS; region++)
        if (!ld_buf_ok(&sum->per_image[region], err))
            return false;
    return true;
}

static int by_size(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;

    return (x > y) - (x < y);
}

static void print_region(struct ld_check_regions *sum, int region)
{
    static const char *const names[] = {"main", "VLR", "either", "imitated"};
    int32_t *sizes = (int32_t *)(void *)sum->per_image[region].data;
    size_t n = (size_t)sum->n_images;
    double all = 0;

    printf("          %-8s", names[region]);
    for (int level = 0; level < LD_MAX_LEVELS; level++) {
        double mean = (double)sum->count[region][level] / (double)sum->n_images;

        printf(" %8.1f", mean);
        all += mean;
    }
    qsort(sizes, n, sizeof(*sizes), by_size);
    printf(" %8.1f %8d %8d\n", all, sizes[n / 2], sizes[n - 1]);
}

void ld_check_regions_print(struct ld_check_regions *sum)
{
    printf("regions   locations an image, mean of %lld images by level; "
           "median and most\n"
           "                         P3       P4       P5       P6       P7"
           "      all   median     most\n",
           (long long)sum->n_images);
    for (int region = 0; region < LD_N_REGIONS; region++)
        if (region != LD_REGION_IMITATED || sum->n_imitated)
            print_region(sum, region);
    printf("          %lld boxes, %.2f %% of them without a main location\n",
           (long long)sum->n_boxes,
           sum->n_boxes ? 100.0 * (double)sum->n_missed / (double)sum->n_boxes
                        : 0.0);
}

void ld_check_regions_free(struct ld_check_regions *sum)
{
    for (int region = 0; region < LD_N_REGIONS; region++)
        ld_buf_free(&sum->per_image[region]);
}
