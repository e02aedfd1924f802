/* Tests of config/document: each reader of a field, and where its messages point. */
#include "config/document.h"

#include "config/secret.h"
#include "folder.h"

#include <errno.h>

struct target {
    char *text;
    bool flag;
    uint64_t number;
    uint64_t time_us;
    struct document_list list;
    struct reader_source source;
};

static const struct document_field FIELDS[] = {
    {"text", document_read_text, .offset = offsetof(struct target, text)},
    {"flag", document_read_bool, .offset = offsetof(struct target, flag)},
    {"number", document_read_number, .offset = offsetof(struct target, number)},
    {"time", document_read_duration, .offset = offsetof(struct target, time_us)},
    {"list", document_read_list, .offset = offsetof(struct target, list)},
    {"source", document_read_source, .offset = offsetof(struct target, source)},
    {"source_file", document_read_source_file, .offset = offsetof(struct target, source)},
    {.name = "any", .read = document_pass_over},
    {.name = "no", .read = document_refuse_field, .note = "is not supported, because"},
};

/* Read a text. Returns what document_read_map() or document_parse() does. */
static int read_text(const char *path, bool expand, const char *text, struct target *target,
                     char error[MATERIAL_ERROR_BYTES])
{
    struct reader reader = {.error = error};
    struct document document = {.reader = &reader, .flag = "--x", .path = path, .expand = expand};
    struct yaml_node *root = NULL;
    *target = (struct target){0};
    (void)snprintf(error, MATERIAL_ERROR_BYTES, "none");
    int result = document_parse(&document, text, &root);
    if (result == 0) {
        result = document_read_map(&document, root, FIELDS, COUNT(FIELDS), target);
    }
    yaml_tree_free(root);
    return result;
}

static void target_deinit(struct target *target)
{
    free(target->text);
    document_list_deinit(&target->list);
    reader_source_deinit(&target->source);
}

static void expect_error(const char *text, const char *message)
{
    struct target target;
    char error[MATERIAL_ERROR_BYTES];
    assert_int_equal(read_text("/d/f.yml", true, text, &target, error), -EINVAL);
    assert_string_equal(error, message);
    target_deinit(&target);
}

static void test_fields(void **state)
{
    (void)state;
    struct target target;
    char error[MATERIAL_ERROR_BYTES];
    static const char text[] = "text: a\n"
                               "flag: Yes\n"
                               "number: 7\n"
                               "time: 1m30s\n"
                               "list: [x, 'y']\n"
                               "source: z\n"
                               "any: {thing: [1]}\n";
    assert_int_equal(read_text(NULL, false, text, &target, error), 0);
    assert_string_equal(target.text, "a");
    assert_true(target.flag);
    assert_int_equal(target.number, 7);
    assert_int_equal(target.time_us, 90000000);
    assert_int_equal(target.list.count, 2);
    assert_string_equal(target.list.texts[1], "y");
    assert_string_equal(target.source.text, "z");
    assert_string_equal(target.source.where, "--x: line 6: source");
    assert_null(target.source.path);
    target_deinit(&target);
}

static void test_nothing_is_as_no_field(void **state)
{
    (void)state;
    struct target target;
    char error[MATERIAL_ERROR_BYTES];
    static const char text[] = "text:\nflag:\nnumber:\ntime: ~\nlist:\nsource:\nsource_file: ''\n";
    assert_int_equal(read_text(NULL, true, text, &target, error), 0);
    static const struct target none;
    assert_memory_equal(&target, &none, sizeof(none));
    assert_int_equal(read_text(NULL, true, "", &target, error), 0);
    assert_int_equal(read_text(NULL, true, "{}", &target, error), 0);
}

static void test_a_bare_time_is_nanoseconds(void **state)
{
    (void)state;
    struct target target;
    char error[MATERIAL_ERROR_BYTES];
    assert_int_equal(read_text(NULL, false, "time: 90000000000", &target, error), 0);
    assert_int_equal(target.time_us, 90000000);
}

static void test_paths_begin_at_the_file(void **state)
{
    (void)state;

    static const struct {
        const char *file;
        const char *text;
        const char *path;
    } cases[] = {{"/d/f.yml", "source_file: a/b", "/d/a/b"},
                 {"/d/f.yml", "source_file: /a/b", "/a/b"},
                 {"f.yml", "source_file: a", "a"},
                 {"d/f.yml", "source_file: ../a", "d/../a"},
                 {NULL, "source_file: a", "a"}};

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct target target;
        char error[MATERIAL_ERROR_BYTES];
        assert_int_equal(read_text(cases[i].file, false, cases[i].text, &target, error), 0);
        assert_string_equal(target.source.path, cases[i].path);
        target_deinit(&target);
    }
}

/* A variable's value is a text, whatever is in it. */
static void test_variables_inject_nothing(void **state)
{
    (void)state;
    struct target target;
    char error[MATERIAL_ERROR_BYTES];
    setenv("UNIT_VALUE", "x\nflag: true\n#", 1);
    assert_int_equal(read_text(NULL, true, "text: ${UNIT_VALUE}\n", &target, error), 0);
    assert_string_equal(target.text, "x\nflag: true\n#");
    assert_false(target.flag);
    target_deinit(&target);
    assert_int_equal(read_text(NULL, false, "text: ${UNIT_VALUE}\n", &target, error), 0);
    assert_string_equal(target.text, "${UNIT_VALUE}");
    target_deinit(&target);
    setenv("UNIT_VALUE", "7", 1);
    assert_int_equal(read_text(NULL, true, "number: $(UNIT_VALUE)\n", &target, error), 0);
    assert_int_equal(target.number, 7);
    unsetenv("UNIT_VALUE");
    expect_error("text: ${UNIT_VALUE}",
                 "--x: /d/f.yml:1: text: the environment variable UNIT_VALUE is not set");
}

static void test_mistakes(void **state)
{
    (void)state;
    expect_error("a: b: c", "--x: /d/f.yml:1: mapping values are not allowed in this context");
    expect_error("- a", "--x: /d/f.yml:1: fields are expected, as \"name: value\"");
    expect_error("any: 1\n\"te\\txt\": 1",
                 "--x: /d/f.yml:2: the field \"te\\txt\" is not known here");
    expect_error("text: [a]", "--x: /d/f.yml:1: text: one value is expected");
    expect_error("flag: maybe", "--x: /d/f.yml:1: flag: is neither true nor false");
    expect_error("number: -1", "--x: /d/f.yml:1: number: is no whole number");
    expect_error("time: soon",
                 "--x: /d/f.yml:1: time: is not a duration such as 500ms, 20s or 1m30s");
    expect_error("list: a", "--x: /d/f.yml:1: list: a list is expected");
    expect_error("list:\n  - a\n  - [b]\n", "--x: /d/f.yml:3: list: one value is expected");
    expect_error("list: [a, ~]", "--x: /d/f.yml:1: list: has an empty entry");
    expect_error("source: a\nsource_file: b",
                 "--x: /d/f.yml:2: source_file: is given both as itself and as a file");
    expect_error("no: a", "--x: /d/f.yml:1: no: is not supported, because");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_nothing_is_as_no_field),
        cmocka_unit_test(test_a_bare_time_is_nanoseconds),
        cmocka_unit_test(test_paths_begin_at_the_file),
        cmocka_unit_test(test_variables_inject_nothing),
        cmocka_unit_test(test_mistakes),
    };
    return cmocka_run_group_tests_name("config/document", tests, NULL, NULL);
}
