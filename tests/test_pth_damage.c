/* What is wrong with a checkpoint of another program is said, and never run. */
#include "formats/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/pth_write.h"
#include "formats/safetensors_write.h"
#include "tests/fuzz_file.h"
#include "tests/made_checkpoint.h"
#include "tests/scratch.h"
#include "tests/suite.h"

static void expect_refused(const char *path, const char *text)
{
    struct ld_arena arena = {0};
    struct ld_err err = {0};
    struct ld_checkpoint c;

    ck_assert_msg(!ld_checkpoint_load(path, &c, &arena, &err),
                  "read, expected: %s", text);
    ck_assert_msg(strstr(err.text, text), "'%s' not in '%s'", text, err.text);
    ck_assert_int_eq(err.code, LD_ERR_FORMAT);
    ld_arena_free(&arena);
}

/* ---- pickles ---- */

/* What an older file begins with: number, protocol, facts of the system. */
#define HEAD                                                            \
    "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02" \
    "M\xe9\x03.\x80\x02}."
#define STORAGE(n)                                          \
    "(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0k" \
    "X\x03\0\0\0cpuK" n "NtQ"
#define TENSOR "ctorch._utils\n_rebuild_tensor_v2\n("

static void put(const char *text, size_t len)
{
    char bytes[2000];

    memcpy(bytes, HEAD, sizeof(HEAD) - 1);
    memcpy(bytes + sizeof(HEAD) - 1, text, len);
    scratch_put("a.pth", bytes, sizeof(HEAD) - 1 + len);
}

#define PUT(text) put(text, sizeof(text) - 1)

/* A dict with the tensor "t" of `shape` and `strides` from `offset`, in a
 * storage of two numbers. */
#define ONE(offset, shape, strides)                                     \
    "\x80\x02}X\x01\0\0\0t" TENSOR STORAGE("\x02") offset shape strides \
        "\x89Nt"                                                        \
        "Rs."                                                           \
        "\x80\x02]X\x01\0\0\0ka."                                       \
        "\x02\0\0\0\0\0\0\0"                                            \
        "\0\0\x80?\0\0\0@"

START_TEST(a_tensor_of_the_older_format_is_read)
{
    struct ld_arena arena = {0};
    struct ld_err err = {0};
    struct ld_checkpoint c;

    PUT(ONE("K\0", "K\x02\x85", "K\x01\x85"));
    ck_assert_msg(ld_checkpoint_load("a.pth", &c, &arena, &err), "%s",
                  err.text);
    ck_assert_int_eq(c.n_tensors, 1);
    ck_assert_str_eq(c.tensors[0].name, "t");
    ck_assert_int_eq(c.tensors[0].dim[0], 2);
    ck_assert(c.tensors[0].data[0] == 1 && c.tensors[0].data[1] == 2);
    ck_assert_str_eq(c.why_no_model, "it has 't' and no bbox_head");
    ld_arena_free(&arena);
}
END_TEST

START_TEST(a_view_beyond_its_storage_is_refused)
{
    static const char beyond[] = "a.pth: 't': its shape is beyond its storage";

    PUT(ONE("K\x01", "K\x02\x85", "K\x01\x85"));
    expect_refused("a.pth", beyond);
    PUT(ONE("K\0", "K\x02\x85", "K\x02\x85"));
    expect_refused("a.pth", beyond);
    PUT(ONE("K\0", "J\xff\xff\xff\x7f\x85", "K\0\x85"));
    expect_refused("a.pth", beyond);
    PUT(ONE("K\0", "J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86", "K\0K\0\x86"));
    expect_refused("a.pth", beyond);
    PUT(ONE("J\xff\xff\xff\xff", "K\x01\x85", "K\x01\x85"));
    expect_refused("a.pth", "a.pth: 't': its place in its storage is none");
    PUT(ONE("K\0", "J\xff\xff\xff\xff\x85", "K\x01\x85"));
    expect_refused("a.pth", "'t': its shape or strides are not sizes");
    PUT(ONE("K\0", "K\x02\x85", "K\x01K\x01\x86"));
    expect_refused("a.pth", "a call that no checkpoint needs");
}
END_TEST

START_TEST(a_function_of_python_is_named_and_not_called)
{
    PUT("\x80\x02"
        "cos\nsystem\nX\x04\0\0\0true\x85R.");
    expect_refused("a.pth", "a.pth: byte 27: refers to Python's 'os.system', "
                            "which no checkpoint needs: refused, nothing was "
                            "run");
    PUT("\x80\x02"
        "cbuiltins\neval\nX\x04\0\0\0true\x85R.");
    expect_refused("a.pth", "'builtins.eval'");
    PUT("\x80\x04\x8c\x05posix\x8c\x06system\x93.");
    expect_refused("a.pth", "'posix.system'");
    PUT("\x80\x02"
        "ctorch\nFloatStorage\n)R.");
    expect_refused("a.pth", "a call that no checkpoint needs");
}
END_TEST

START_TEST(a_pickle_that_is_none_is_refused_by_its_place)
{
    char deep[600];

    PUT("\x80\x02K\x01R.");
    expect_refused("a.pth", "takes a value that is not there");
    PUT("\x80\x02h\x07.");
    expect_refused("a.pth", "byte 27: the pickle recalls a value");
    PUT("\x80\x02}r\xff\xff\xff\x7f.");
    expect_refused("a.pth", "numbers a value too high");
    PUT("\x80\x02X\xff\xff\xff\x7f.");
    expect_refused("a.pth", "the pickle is cut short");
    PUT("\x80\x02i.");
    expect_refused("a.pth", "no step of a pickle");
    PUT("\x80\x02}(K\x01u.");
    expect_refused("a.pth", "a key without a value");
    PUT("\x80\x02t.");
    expect_refused("a.pth", "a mark that is not there");
    PUT("\x80\x02K\x01.\x80\x02].");
    expect_refused("a.pth", "holds no dict");
    PUT("\x80\x02}.\x80\x02].");
    expect_refused("a.pth", "holds no tensor: expected a state_dict");
    PUT("\x80\x02}.\x80\x02].x");
    expect_refused("a.pth", "goes on behind its last storage");
    memset(deep, '(', sizeof(deep));
    put(deep, sizeof(deep));
    expect_refused("a.pth", "nested too deep");
}
END_TEST

/* ---- other containers ---- */

START_TEST(the_oldest_format_is_recognised)
{
    char tar[600] = "storages";

    memcpy(tar + 257, "ustar", 5);
    scratch_put("a.pth", tar, sizeof(tar));
    expect_refused("a.pth", "a.pth: is in the tar format of PyTorch before "
                            "0.1.10: load it with torch.load and torch.save "
                            "it again");
}
END_TEST

/* Writes what made_checkpoint holds; gives its bytes, to be ld_delete'd. */
static char *written(const char *path, size_t *len)
{
    static const struct ld_pth_meta meta = {.config = "model = dict()\n"};
    struct made_checkpoint m;
    struct ld_err err = {0};
    bool ok;

    checkpoint_make(&m, 0);
    ok = strstr(path, ".pth") ? ld_pth_write(path, &m.c, &meta, &err)
                              : ld_safetensors_write(path, &m.c, &err);
    ck_assert_msg(ok, "%s", err.text);
    return scratch_get(path, len);
}

/* What we write, we read, but for the momentum. */
static void check_round_trip(const char *path)
{
    struct made_checkpoint m;
    struct ld_arena arena = {0};
    struct ld_err err = {0};
    struct ld_checkpoint c;
    size_t len;

    ld_delete(written(path, &len));
    checkpoint_make(&m, 0);
    ck_assert_msg(ld_checkpoint_load(path, &c, &arena, &err), "%s", err.text);
    ck_assert_int_eq(c.n_tensors, N_TENSORS);
    ck_assert_int_eq(c.n_momentum, 0);
    ck_assert_str_eq(c.config, m.c.config);
    ck_assert_int_eq(c.epoch, m.c.epoch);
    ck_assert_int_eq(c.step, m.c.step);
    ck_assert_int_eq(c.n_classes, m.c.n_classes);
    ck_assert(!c.classes_assumed);
    for (int i = 0; i < c.n_classes; i++)
        ck_assert_str_eq(c.class_names[i], m.c.class_names[i]);
    for (int i = 0; i < N_TENSORS; i++) {
        ck_assert_str_eq(c.tensors[i].name, m.tensors[i].name);
        ck_assert_int_eq(c.tensors[i].n_dims, m.tensors[i].n_dims);
        ck_assert_mem_eq(c.tensors[i].dim, m.tensors[i].dim,
                         (size_t)m.tensors[i].n_dims * sizeof(int));
        ck_assert_mem_eq(c.tensors[i].data, m.tensors[i].data,
                         ld_tensor_count(&m.tensors[i]) * sizeof(float));
    }
    ld_arena_free(&arena);
}

START_TEST(an_export_is_read_back_to_the_bit)
{
    check_round_trip("a.pth");
    check_round_trip("a.safetensors");
}
END_TEST

/* Replaces text by as long a text wherever it stands. */
static void replace(const char *path, const char *from, const char *to)
{
    size_t len, n = strlen(from);
    char *bytes = written(path, &len);

    for (size_t i = 0; i + n <= len; i++)
        if (memcmp(bytes + i, from, n) == 0)
            memcpy(bytes + i, to, n);
    scratch_put(path, bytes, len);
    ld_delete(bytes);
}

START_TEST(a_zip_of_another_kind_is_refused)
{
    replace("a.pth", "/data.pkl", "/dota.pkl");
    expect_refused("a.pth", "without a folder with data.pkl in it");
    replace("a.pth", "/data/2", "/dota/2");
    expect_refused("a.pth", "storage '2' is missing");
    replace("a.pth", "head.cube", "head.cubo");
    expect_refused("a.pth", "'archive/data.pkl': is damaged");
    replace("a.pth", "PK\x05\x06", "PK\x05\x07");
    expect_refused("a.pth", "has no end record of a zip archive: cut short?");
    replace("a.pth", "PK\x01\x02", "PK\x01\x03");
    expect_refused("a.pth", "its directory is damaged");
}
END_TEST

START_TEST(a_safetensors_file_whose_header_lies_is_refused)
{
    replace("a.safetensors", "\"shape\":[7]", "\"shape\":[8]");
    expect_refused("a.safetensors", "'backbone.layer1.0.bn1.running_mean': has "
                                    "more or fewer bytes than its shape");
    replace("a.safetensors", "\"F32\"", "\"F3x\"");
    expect_refused("a.safetensors", "is of an unknown dtype");
    replace("a.safetensors", "[432,460]", "[436,464]");
    expect_refused("a.safetensors", "bytes before its own are nobody's");
    replace("a.safetensors", "[432,460]", "[428,456]");
    expect_refused("a.safetensors", "its bytes are another's as well");
    replace("a.safetensors", "[432,460]", "[460,432]");
    expect_refused("a.safetensors", "its data_offsets are no range");
    replace("a.safetensors", "\"dtype\"", "\"dtipe\"");
    expect_refused("a.safetensors", "holds an unknown key");
}
END_TEST

/* ---- damage ---- */

enum { N_CHANGES = 300 };

/* Every cut of a small file, and some changes. */
static void check_damage(const char *path, long most_read_cut)
{
    struct fuzz_counts cuts = {0}, changes = {0};

    ck_assert(fuzz_cuts(path, 7, &cuts));
    ck_assert_int_eq(cuts.n_wrong, 0);
    ck_assert_int_le(cuts.n_read, most_read_cut);
    ck_assert_int_gt(cuts.n_refused, 100);
    ck_assert(fuzz_changes(path, N_CHANGES, 5, &changes));
    ck_assert_int_eq(changes.n_wrong, 0);
    ck_assert_int_eq(changes.n_read + changes.n_refused, N_CHANGES);
    ck_assert_int_gt(changes.n_refused, 0);
}

START_TEST(a_damaged_file_is_refused_or_read_but_nothing_else)
{
    const char *tests = getenv("LD_TESTS");
    char path[1024];
    size_t len;

    snprintf(path, sizeof(path), "%s/golden/ckpt/odd_zip.pth", tests);
    check_damage(path, 0);
    snprintf(path, sizeof(path), "%s/golden/ckpt/odd_legacy.pth", tests);
    check_damage(path, 0);
    ld_delete(written("a.pth", &len));
    check_damage("a.pth", 0);
    ld_delete(written("a.safetensors", &len));
    check_damage("a.safetensors", 0);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("pth_damage");
    TCase *c = tcase_create("damage");

    tcase_add_unchecked_fixture(c, scratch_open, scratch_close);
    tcase_add_test(c, a_tensor_of_the_older_format_is_read);
    tcase_add_test(c, a_view_beyond_its_storage_is_refused);
    tcase_add_test(c, a_function_of_python_is_named_and_not_called);
    tcase_add_test(c, a_pickle_that_is_none_is_refused_by_its_place);
    tcase_add_test(c, the_oldest_format_is_recognised);
    tcase_add_test(c, an_export_is_read_back_to_the_bit);
    tcase_add_test(c, a_zip_of_another_kind_is_refused);
    tcase_add_test(c, a_safetensors_file_whose_header_lies_is_refused);
    tcase_add_test(c, a_damaged_file_is_refused_or_read_but_nothing_else);
    suite_add_tcase(s, c);
    return s;
}
