/* voc_xml.h - one annotation file of PASCAL VOC. Internal to voc.c. */
#pragma once

#include <stdint.h>

#include "formats/file.h"
#include "kernels/base/error.h"
#include "kernels/box.h"

enum { LD_VOC_TEXT = 1024 }; /* bytes of an element, with its zero byte */

struct ld_voc_object {
    const char *name;  /* of the class; valid during the call */
    struct ld_box box; /* counted from 0: the file's numbers minus 1 */
    bool difficult;
};

struct ld_voc_file {
    /* Called for each object, in order; false ends the reading. */
    bool (*add)(void *user, const struct ld_voc_object *object,
                struct ld_err *err);
    void *user;
    int32_t H, W;                 /* out: 0 if the file does not say */
    char image_name[LD_VOC_TEXT]; /* out: <filename>; "" if there is none */
};

/* Reads the bytes of the file `path`. LD_ERR_FORMAT names line and column. A
 * document type declaration is refused, so that no entity can grow. */
bool ld_voc_xml_read(const char *path, const struct ld_file *bytes,
                     struct ld_voc_file *file, struct ld_err *err);
