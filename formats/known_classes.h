/* known_classes.h - the class names of the two data sets that everybody uses,
 * for files that name none. */
#pragma once

/* COCO's 80 names by rising category id, or VOC's 20 by alphabet, as
 * mmdetection orders them; NULL for another number. *set is "COCO" or "VOC". */
const char *const *ld_known_classes(int n_classes, const char **set);
