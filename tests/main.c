#include "tests/suite.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

/* The status by which meson knows that nothing was tested. */
enum { ALL_SKIPPED = 77 };

/* Tests run in forked children: what they skipped is shared memory. */
struct skipped {
    int n;
    char why[512]; /* of the last */
};

static struct skipped *skipped;

void note_skipped(const char *why)
{
    if (strncmp(why, skipped->why, sizeof(skipped->why) - 1) != 0)
        printf("SKIP: %s\n", why);
    fflush(stdout);
    skipped->n++;
    if (why != skipped->why)
        snprintf(skipped->why, sizeof(skipped->why), "%s", why);
}

const char *last_skipped(void)
{
    return skipped->n > 0 ? skipped->why : NULL;
}

/* Asked by the leak sanitizer, where it is built in: HDF5 loses its caches when
 * a file cannot be closed because the disk is full, which tests make happen. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libhdf5";
}

int main(void)
{
    SRunner *runner = srunner_create(suite());
    int failed, run, status;

    setvbuf(stdout, NULL, _IOLBF, 0);
    skipped = mmap(NULL, sizeof(*skipped), PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (skipped == MAP_FAILED)
        return 1;

    srunner_set_tap(runner, "-");
    srunner_run_all(runner, CK_SILENT);
    failed = srunner_ntests_failed(runner);
    run = srunner_ntests_run(runner);
    printf("%d passed, %d failed, %d skipped\n", run - failed - skipped->n,
           failed, skipped->n);
    status = run > 0 && run == skipped->n ? ALL_SKIPPED : failed != 0;
    srunner_free(runner);
    munmap(skipped, sizeof(*skipped));
    return status;
}
