#include "tests/suite.h"

#include <stdio.h>
#include <sys/mman.h>

/* Tests run in forked children: the count of skipped ones is shared memory. */
static int *n_skipped;

void note_skipped(const char *why)
{
    __atomic_add_fetch(n_skipped, 1, __ATOMIC_RELAXED);
    printf("SKIP: %s\n", why);
    fflush(stdout);
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
    int failed, run;

    setvbuf(stdout, NULL, _IOLBF, 0);
    n_skipped = mmap(NULL, sizeof(*n_skipped), PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (n_skipped == MAP_FAILED)
        return 1;

    srunner_set_tap(runner, "-");
    srunner_run_all(runner, CK_SILENT);
    failed = srunner_ntests_failed(runner);
    run = srunner_ntests_run(runner);
    printf("%d passed, %d failed, %d skipped\n", run - failed - *n_skipped,
           failed, *n_skipped);
    srunner_free(runner);
    munmap(n_skipped, sizeof(*n_skipped));
    return failed != 0;
}
