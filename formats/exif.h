/* exif.h - which way up a camera held the picture. */
#pragma once

#include <stddef.h>

/* The orientation, 1 to 8, that a TIFF block (what follows "Exif\0\0" in a
 * JPEG, the body of a PNG's eXIf chunk) gives in tag 0x0112 of its first
 * directory. 1, upright, where there is none or the block contradicts itself:
 * no length or offset in it is trusted. Source: TIFF 6.0 section 2, Exif 2.32
 * section 4.6. */
int ld_exif_orientation(const unsigned char *tiff, size_t len);
