#include "formats/pth_write.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

#include "tests/made_checkpoint.h"
#include "tests/scratch.h"
#include "tests/suite.h"
#include "tests/zip_check.h"

static const struct ld_pth_meta meta = {.config = "model = dict()\n",
                                        .seed = -7};

/* As checkpoint_make; one tensor belongs to a BatchNorm. */
static void make(struct made_checkpoint *m)
{
    checkpoint_make(m, 0);
    m->tensors[1].name = "backbone.layer1.0.bn1.running_var";
}

static void write_ok(const char *path, const struct ld_checkpoint *c)
{
    struct ld_err err = {0};

    ck_assert_msg(ld_pth_write(path, c, &meta, &err), "%s", err.text);
}

START_TEST(it_is_a_zip_as_torch_writes_it)
{
    static const char *const names[] = {"data.pkl", "byteorder", "data/0",
                                        "data/1",   "data/2",    "data/3",
                                        "data/4",   "data/5",    "version"};
    struct zip_content content[9];
    struct made_checkpoint m;
    const float *value = m.values;
    size_t len;
    char *zip;

    make(&m);
    write_ok("a.pth", &m.c);
    zip = scratch_get("a.pth", &len);
    ck_assert_int_eq(zip_check(zip, len, content, 9), 9);
    for (int i = 0; i < 9; i++) {
        ck_assert_mem_eq(content[i].name, "archive/", 8);
        ck_assert_str_eq(content[i].name + 8, names[i]);
    }
    ck_assert_mem_eq(content[0].bytes, "\x80\x02}", 3);
    ck_assert_mem_eq(content[1].bytes, "little", 6);
    ck_assert_mem_eq(content[8].bytes, "3\n", 2);
    for (int i = 0; i < 6; i++) {
        const struct zip_content *c = &content[2 + i];

        if (i == 2) { /* num_batches_tracked */
            ck_assert_uint_eq(c->len, 8);
            ck_assert_mem_eq(c->bytes, "\0\0\0\0\0\0\0\0", 8);
            continue;
        }
        ck_assert_mem_eq(c->bytes, value, c->len);
        value += c->len / sizeof(float);
    }
    ck_assert_int_eq((int)(value - m.values), 170);
    ck_assert_int_eq(scratch_count("."), 1);
    ld_delete(zip);
    unlink("a.pth");
}
END_TEST

START_TEST(it_is_read_back_to_the_bit)
{
    struct made_checkpoint m;
    struct ld_err err = {0};
    bool equal;

    make(&m);
    write_ok("a.pth", &m.c);
    m.c.n_momentum = 0; /* which no .pth of ours keeps */
    m.c.step_of_epoch = 0;
    m.c.n_ranks = 0;
    ck_assert_msg(checkpoint_is("a.pth", &m.c, &equal, &err), "%s", err.text);
    ck_assert(equal);
    unlink("a.pth");
}
END_TEST

START_TEST(equal_detectors_give_equal_files)
{
    struct made_checkpoint m;
    size_t n, k;
    char *a, *b;

    make(&m);
    write_ok("a", &m.c);
    write_ok("b", &m.c);
    a = scratch_get("a", &n);
    b = scratch_get("b", &k);
    ck_assert_uint_eq(n, k);
    ck_assert_mem_eq(a, b, n);
    ld_delete(a);
    ld_delete(b);
    unlink("a");
    unlink("b");
}
END_TEST

START_TEST(a_text_that_is_not_utf8_is_refused_by_name)
{
    struct ld_err class = {0}, name = {0}, config = {0};
    struct made_checkpoint m;

    make(&m);
    m.classes[1] = "caf\xe9";
    ck_assert(!ld_pth_write("a", &m.c, &meta, &class));
    ck_assert_int_eq(class.code, LD_ERR_FORMAT);
    ck_assert_str_eq(class.text, "a: the class name 'caf\xe9' is not UTF-8");
    make(&m);
    m.tensors[3].name = "head\xc0\x80";
    ck_assert(!ld_pth_write("a", &m.c, &meta, &name));
    ck_assert(strstr(name.text, "the tensor's name 'head"));
    make(&m);
    m.c.config = "\xff";
    ck_assert(!ld_pth_write("a", &m.c, &meta, &config));
    ck_assert(strstr(config.text, "the config"));
    ck_assert_int_eq(scratch_count("."), 0);
}
END_TEST

/* ---- what torch says ---- */

/* "name torch.float32 [2, 3] [3, 1] 0123abcd" */
static void put_expected(struct ld_buf *out, const struct ld_tensor *t)
{
    size_t bytes = ld_tensor_count(t) * sizeof(float);
    const void *data = t->data;

    ld_buf_printf(out, "%s torch.float32 [", t->name);
    for (int i = 0; i < t->n_dims; i++)
        ld_buf_printf(out, "%s%d", i ? ", " : "", t->dim[i]);
    ld_buf_printf(out, "] [");
    for (int i = 0; i < t->n_dims; i++) {
        int stride = 1;

        for (int k = i + 1; k < t->n_dims; k++)
            stride *= t->dim[k];
        ld_buf_printf(out, "%s%d", i ? ", " : "", stride);
    }
    ld_buf_printf(out, "] %08lx\n", (unsigned long)crc32_z(0, data, bytes));
}

static void put_all_expected(struct ld_buf *out,
                             const struct made_checkpoint *m)
{
    ld_buf_printf(out, "meta state_dict\n"
                       "epoch 3\n"
                       "iter 1234567890123\n"
                       "seed -7\n"
                       "mmdet_version '2.10.0'\n"
                       "config 'model = dict()\\n'\n"
                       "ld_distill '" LD_VERSION "'\n"
                       "ld_distill_config 'train:\\n  lr: 0.01\\n'\n"
                       "CLASSES ('person', 'traffic light', "
                       "'Verkehrsschild \"gro\xc3\x9f\"')\n"
                       "OrderedDict\n");
    for (int i = 0; i < N_TENSORS; i++) {
        put_expected(out, &m->tensors[i]);
        if (i == 1)
            ld_buf_printf(
                out,
                "backbone.layer1.0.bn1.num_batches_tracked torch.int64 [] [] "
                "%08lx\n",
                (unsigned long)crc32_z(0, (const unsigned char[8]){0}, 8));
    }
    ld_buf_put(out, "", 1);
}

/* The exit status of tests/load_pth.py, and what it prints. */
static int ask_torch(const char *python, const char *path, struct ld_buf *out)
{
    char command[4096], piece[4096];
    FILE *pipe;
    size_t n;
    int status;

    snprintf(command, sizeof(command), "%s '%s/load_pth.py' '%s'", python,
             getenv("LD_TESTS"), path);
    pipe = popen(command, "r");
    ck_assert_ptr_nonnull(pipe);
    while ((n = fread(piece, 1, sizeof(piece), pipe)) > 0)
        ld_buf_put(out, piece, n);
    ld_buf_put(out, "", 1);
    status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

START_TEST(torch_loads_the_same_names_shapes_and_values)
{
    struct ld_buf said = {.max = 1 << 20}, expected = {.max = 1 << 20};
    struct made_checkpoint m;
    int status;

    if (!getenv("LD_TESTS"))
        SKIP_TEST("LD_TESTS does not say where the source is");
    make(&m);
    write_ok("a.pth", &m.c);
    put_all_expected(&expected, &m);
    status = ask_torch("python3", "a.pth", &said);
    if (status == 3 || status == 127) { /* no torch; no such program */
        said.len = 0;
        status = ask_torch("/usr/bin/python3", "a.pth", &said);
    }
    unlink("a.pth");
    if (status != 3 && status != 127) {
        ck_assert_int_eq(status, 0);
        ck_assert_str_eq((const char *)said.data, (const char *)expected.data);
    }
    ld_buf_free(&said);
    ld_buf_free(&expected);
    if (status == 3 || status == 127)
        SKIP_TEST("python3-torch is not installed");
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("pth_write");
    TCase *c = tcase_create("pth_write");

    tcase_add_unchecked_fixture(c, scratch_open, scratch_close);
    tcase_add_test(c, it_is_a_zip_as_torch_writes_it);
    tcase_add_test(c, it_is_read_back_to_the_bit);
    tcase_add_test(c, equal_detectors_give_equal_files);
    tcase_add_test(c, a_text_that_is_not_utf8_is_refused_by_name);
    tcase_add_test(c, torch_loads_the_same_names_shapes_and_values);
    suite_add_tcase(s, c);
    return s;
}
