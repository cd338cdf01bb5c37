#include "tests/scratch.h"

#include <check.h>
#include <dirent.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "formats/file.h"
#include "kernels/base/mem.h"

static char folder[4096];

void scratch_open(void)
{
    const char *above = getenv("TMPDIR");

    snprintf(folder, sizeof(folder), "%s/ld-test-XXXXXX",
             above ? above : "/tmp");
    if (!mkdtemp(folder) || chdir(folder) != 0) {
        perror(folder);
        exit(1);
    }
}

static int remove_one(const char *path, const struct stat *info, int flag,
                      struct FTW *walk)
{
    (void)info;
    (void)flag;
    (void)walk;
    return remove(path);
}

void scratch_close(void)
{
    if (chdir("/") != 0 ||
        nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0)
        perror(folder);
}

static void make_folder_of(const char *name)
{
    const char *slash = strrchr(name, '/');
    struct ld_err err = {0};
    char above[4096];

    if (!slash)
        return;
    snprintf(above, sizeof(above), "%.*s", (int)(slash - name), name);
    ck_assert_msg(ld_folder_make(above, &err), "%s", err.text);
}

void scratch_put(const char *name, const void *bytes, size_t len)
{
    FILE *file;

    make_folder_of(name);
    file = fopen(name, "wb");
    ck_assert_msg(file != NULL, "cannot create %s", name);
    ck_assert_uint_eq(fwrite(bytes, 1, len, file), len);
    ck_assert_int_eq(fclose(file), 0);
}

void scratch_text(const char *name, const char *text)
{
    scratch_put(name, text, strlen(text));
}

char *scratch_get(const char *name, size_t *len)
{
    struct ld_err err = {0};
    FILE *file = fopen(name, "rb");
    char *bytes;
    long size;

    if (!file)
        return NULL;
    fseek(file, 0, SEEK_END);
    size = ftell(file);
    rewind(file);
    bytes = ld_new((size_t)size + 1, 1, &err);
    ck_assert_ptr_nonnull(bytes);
    ck_assert_uint_eq(fread(bytes, 1, (size_t)size, file), (size_t)size);
    fclose(file);
    *len = (size_t)size;
    return bytes;
}

int scratch_count(const char *name)
{
    DIR *entries = opendir(name);
    int n = 0;

    ck_assert_msg(entries != NULL, "cannot list %s", name);
    while (readdir(entries))
        n++;
    closedir(entries);
    return n - 2; /* . and .. */
}

void scratch_limit_files(size_t bytes)
{
    struct rlimit limit = {bytes, bytes};

    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}
