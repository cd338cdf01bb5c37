#include "scripts/shapes_truth.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "formats/file.h"
#include "formats/json.h"

/* The figure's extent cut at the image's edge. */
static struct ld_box clip(struct ld_box b, const struct ld_scene *scene)
{
    return (struct ld_box){fmaxf(b.x0, 0), fmaxf(b.y0, 0),
                           fminf(b.x1, (float)scene->W),
                           fminf(b.y1, (float)scene->H)};
}

static bool is_truth(const struct ld_figure *f, const struct ld_sight *sight)
{
    return f->class_index != LD_SHAPE_CLUTTER &&
           sight->visible >= LD_TRUTH_UNSEEN;
}

static int n_classes(const struct ld_truth_split *split)
{
    return split->one_class ? 1 : LD_N_SHAPE_CLASSES;
}

static const char *class_name(const struct ld_truth_split *split, int k)
{
    return split->one_class ? "shape" : ld_shape_class_names[k];
}

static void separate(struct ld_buf *list)
{
    if (list->len > 0)
        ld_buf_put(list, ",\n", 2);
}

static void add_coco_object(struct ld_truth_split *split, int64_t image_id,
                            const struct ld_figure *f, struct ld_box box,
                            const struct ld_sight *sight)
{
    separate(&split->annotations);
    ld_buf_printf(
        &split->annotations,
        "{\"id\": %" PRId64 ", \"image_id\": %" PRId64 ", \"category_id\": %d, "
        "\"bbox\": [%.2f, %.2f, %.2f, %.2f], \"area\": %.2f, \"iscrowd\": %d}",
        ++split->n_objects, image_id,
        split->one_class ? 1 : (int)f->class_index + 1, (double)box.x0,
        (double)box.y0, (double)(box.x1 - box.x0), (double)(box.y1 - box.y0),
        sight->visible_area, sight->visible < LD_TRUTH_IGNORED);
}

/* VOC counts pixels from 1, and the last one belongs to the box. */
static void add_voc_object(struct ld_buf *xml, const char *name,
                           const struct ld_figure *f, struct ld_box box,
                           const struct ld_sight *sight)
{
    bool truncated = f->box.x0 < box.x0 || f->box.y0 < box.y0 ||
                     f->box.x1 > box.x1 || f->box.y1 > box.y1;

    ld_buf_printf(
        xml,
        "\t<object>\n\t\t<name>%s</name>\n\t\t<pose>Unspecified</pose>\n"
        "\t\t<truncated>%d</truncated>\n\t\t<difficult>%d</difficult>\n"
        "\t\t<bndbox>\n\t\t\t<xmin>%ld</xmin>\n\t\t\t<ymin>%ld</ymin>\n"
        "\t\t\t<xmax>%ld</xmax>\n\t\t\t<ymax>%ld</ymax>\n\t\t</bndbox>\n"
        "\t</object>\n",
        name, truncated, sight->visible < LD_TRUTH_IGNORED, lrintf(box.x0) + 1,
        lrintf(box.y0) + 1, lrintf(box.x1), lrintf(box.y1));
}

static void begin_voc(struct ld_buf *xml, const struct ld_truth_image *image,
                      const struct ld_scene *scene)
{
    ld_buf_printf(xml,
                  "<annotation>\n\t<folder>voc</folder>\n"
                  "\t<filename>%s.%s</filename>\n"
                  "\t<size>\n\t\t<width>%d</width>\n\t\t<height>%d</height>\n"
                  "\t\t<depth>3</depth>\n\t</size>\n"
                  "\t<segmented>0</segmented>\n",
                  image->name, image->ending, scene->W, scene->H);
}

static bool write_text(const char *out_folder, const char *name,
                       const struct ld_buf *text, struct ld_err *err)
{
    char path[4096];

    return ld_buf_ok(text, err) && ld_path_join(path, out_folder, name, err) &&
           ld_file_replace(path, text->data, text->len, err);
}

static void add_coco_image(struct ld_truth_split *split,
                           const struct ld_truth_image *image,
                           const struct ld_scene *scene)
{
    separate(&split->images);
    ld_buf_printf(&split->images,
                  "{\"id\": %" PRId64 ", \"file_name\": \"%s.%s\", "
                  "\"width\": %d, \"height\": %d}",
                  image->id, image->name, image->ending, scene->W, scene->H);
}

bool ld_truth_add(struct ld_truth_split *split, const char *out_folder,
                  const struct ld_truth_image *image,
                  const struct ld_scene *scene, const struct ld_sight *sights,
                  struct ld_err *err)
{
    struct ld_buf xml = {.max = 1 << 20};
    char name[64];
    bool ok;

    add_coco_image(split, image, scene);
    begin_voc(&xml, image, scene);
    for (int i = 0; i < scene->n_figures; i++) {
        const struct ld_figure *f = &scene->figures[i];
        struct ld_box box = clip(f->box, scene);

        if (!is_truth(f, &sights[i]))
            continue;
        add_coco_object(split, image->id, f, box, &sights[i]);
        add_voc_object(&xml, class_name(split, (int)f->class_index), f, box,
                       &sights[i]);
    }
    ld_buf_printf(&xml, "</annotation>\n");
    ld_buf_printf(&split->names, "%s\n", image->name);
    snprintf(name, sizeof(name), "voc/Annotations/%s.xml", image->name);
    ok = write_text(out_folder, name, &xml, err);
    ld_buf_free(&xml);
    return ok && ld_buf_ok(&split->images, err) &&
           ld_buf_ok(&split->annotations, err) && ld_buf_ok(&split->names, err);
}

static void put_coco(struct ld_buf *json, const struct ld_truth_split *split)
{
    ld_buf_printf(json, "{\"info\": {\"description\": ");
    ld_json_put_string(json, "made-up shapes with uncertain borders");
    ld_buf_printf(json, "},\n\"categories\": [");
    for (int k = 0; k < n_classes(split); k++) {
        ld_buf_printf(json, "%s{\"id\": %d, \"name\": ", k ? ", " : "", k + 1);
        ld_json_put_string(json, class_name(split, k));
        ld_buf_printf(json, ", \"supercategory\": \"shape\"}");
    }
    ld_buf_printf(json, "],\n\"images\": [\n");
    ld_buf_put(json, split->images.data, split->images.len);
    ld_buf_printf(json, "\n],\n\"annotations\": [\n");
    ld_buf_put(json, split->annotations.data, split->annotations.len);
    ld_buf_printf(json, "\n]}\n");
}

bool ld_truth_write(const struct ld_truth_split *split, const char *out_folder,
                    struct ld_err *err)
{
    struct ld_buf json = {.max = SIZE_MAX};
    char names_path[64], json_path[64];
    bool ok;

    put_coco(&json, split);
    snprintf(json_path, sizeof(json_path), "coco/%s.json", split->name);
    snprintf(names_path, sizeof(names_path), "voc/ImageSets/Main/%s.txt",
             split->name);
    ok = write_text(out_folder, json_path, &json, err) &&
         write_text(out_folder, names_path, &split->names, err);
    ld_buf_free(&json);
    return ok;
}
