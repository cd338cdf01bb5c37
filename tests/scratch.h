/* scratch.h - a folder of its own for the tests of one case.
 *
 *     tcase_add_unchecked_fixture(c, scratch_open, scratch_close);
 *
 * Tests of the case then run with that folder as the working folder. */
#pragma once

#include <stddef.h>

void scratch_open(void);
void scratch_close(void); /* removes it and all in it */

/* Writes a file in it, and makes the folders of its name; fails the test if it
 * cannot. */
void scratch_put(const char *name, const void *bytes, size_t len);
void scratch_text(const char *name, const char *text);

/* The bytes of a file, ended by a zero byte, or NULL without it; ld_delete
 * them. */
char *scratch_get(const char *name, size_t *len);

/* How many files and folders a folder holds. */
int scratch_count(const char *folder);

/* From now on no file of this process grows past `bytes`: a full disk, for
 * those who cannot make one. */
void scratch_limit_files(size_t bytes);
