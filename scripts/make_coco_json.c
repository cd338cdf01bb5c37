/* make_coco_json.c - an annotation file of any size, shaped like COCO's
 * instances_train2017.json: make-coco-json IMAGES BOXES SEED > FILE.
 * 118287 860001 1 makes one of train2017's size, 450 MB. */
#include <stdio.h>
#include <stdlib.h>

#include "kernels/base/rng.h"

enum { W = 640, H = 480, N_CATEGORIES = 90 };

/* As COCO writes it, two digits after the point. */
static void put_number(struct ld_rng *rng, uint32_t limit)
{
    uint32_t hundredths = ld_rng_below(rng, 100 * limit);

    printf("%u.%02u", hundredths / 100, hundredths % 100);
}

static void put_images(int n)
{
    printf("\"images\": [");
    for (int i = 1; i <= n; i++)
        printf("%s{\"license\": 4,\"file_name\": \"%012d.jpg\",\"coco_url\": "
               "\"http://images.cocodataset.org/train2017/%012d.jpg\","
               "\"height\": %d,\"width\": %d,\"date_captured\": "
               "\"2013-11-14 11:18:45\",\"flickr_url\": "
               "\"http://farm9.staticflickr.com/8186/8119368305_4e622c8349_z"
               ".jpg\",\"id\": %d}",
               i > 1 ? "," : "", i, i, H, W, i);
    printf("],");
}

static void put_polygon(struct ld_rng *rng)
{
    int n = 2 * (4 + (int)ld_rng_below(rng, 44));

    printf("\"segmentation\": [[");
    for (int i = 0; i < n; i++) {
        if (i > 0)
            putchar(',');
        put_number(rng, i % 2 ? H : W);
    }
    printf("]]");
}

static void put_annotations(struct ld_rng *rng, int n, int n_images)
{
    printf("\"annotations\": [");
    for (int i = 1; i <= n; i++) {
        printf("%s{", i > 1 ? "," : "");
        put_polygon(rng);
        printf(",\"area\": ");
        put_number(rng, 40000);
        printf(",\"iscrowd\": %d,\"image_id\": %u,\"bbox\": [",
               ld_rng_below(rng, 100) == 0,
               1 + ld_rng_below(rng, (uint32_t)n_images));
        for (int side = 0; side < 4; side++) {
            if (side > 0)
                putchar(',');
            put_number(rng, side < 2 ? H : 200);
        }
        printf("],\"category_id\": %u,\"id\": %d}",
               1 + ld_rng_below(rng, N_CATEGORIES), i);
    }
    printf("],");
}

static void put_categories(void)
{
    printf("\"categories\": [");
    for (int i = 1; i <= N_CATEGORIES; i++)
        printf("%s{\"supercategory\": \"thing\",\"id\": %d,\"name\": \"c%d\"}",
               i > 1 ? "," : "", i, i);
    printf("]");
}

int main(int argc, char **argv)
{
    int n_images = argc == 4 ? atoi(argv[1]) : 0;
    int n_boxes = argc == 4 ? atoi(argv[2]) : 0;
    struct ld_rng rng;

    if (n_images < 1 || n_boxes < 0) {
        fprintf(stderr, "usage: make-coco-json IMAGES BOXES SEED > FILE\n");
        return 2;
    }
    rng = ld_rng_seed((uint64_t)atoll(argv[3]), 0);
    printf("{");
    put_images(n_images);
    put_annotations(&rng, n_boxes, n_images);
    put_categories();
    printf("}");
    if (fflush(stdout) != 0 || ferror(stdout)) {
        perror("make-coco-json");
        return 1;
    }
    return 0;
}
