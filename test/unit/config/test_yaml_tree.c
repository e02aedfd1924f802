/* Tests of config/yaml_tree: shapes, lines, limits, refusals. */
#include "config/yaml_tree.h"

#include "../base/unit.h"

#include <errno.h>

static struct yaml_node *parse(const char *text)
{
    struct yaml_node *root = NULL;
    unsigned line = 0;
    char error[YAML_TREE_ERROR_BYTES] = "";
    if (yaml_tree_parse(text, strlen(text), &root, &line, error) < 0) {
        fail_msg("%u: %s", line, error);
    }
    return root;
}

static void expect_error(const char *text, unsigned line, const char *reason)
{
    struct yaml_node *root = NULL;
    unsigned got = 0;
    char error[YAML_TREE_ERROR_BYTES] = "";
    assert_int_equal(yaml_tree_parse(text, strlen(text), &root, &got, error), -EINVAL);
    assert_null(root);
    if (strstr(error, reason) == NULL || got != line) {
        fail_msg("%u: %s", got, error);
    }
}

static void test_shapes(void **state)
{
    (void)state;
    struct yaml_node *root = parse("a: one\n"
                                   "\n"
                                   "b:\n"
                                   "  c: \"two\"\n"
                                   "  d: [x, 'y', z: 1]\n"
                                   "e: |\n"
                                   "  lines\n"
                                   "f:\n");
    assert_int_equal(root->kind, YAML_MAP);
    assert_int_equal(root->count, 4);
    const struct yaml_node *a = yaml_tree_find(root, "a");
    assert_int_equal(a->kind, YAML_SCALAR);
    assert_string_equal(a->text, "one");
    assert_false(a->quoted);
    const struct yaml_node *b = yaml_tree_find(root, "b");
    assert_int_equal(b->kind, YAML_MAP);
    assert_int_equal(b->line, 4);
    assert_int_equal(root->pairs[1].line, 3);
    assert_true(yaml_tree_find(b, "c")->quoted);
    const struct yaml_node *d = yaml_tree_find(b, "d");
    assert_int_equal(d->kind, YAML_LIST);
    assert_int_equal(d->count, 3);
    assert_string_equal(d->items[1]->text, "y");
    assert_int_equal(d->items[2]->kind, YAML_MAP);
    assert_string_equal(yaml_tree_find(root, "e")->text, "lines\n");
    assert_true(yaml_tree_is_null(yaml_tree_find(root, "f")));
    assert_null(yaml_tree_find(root, "g"));
    assert_null(yaml_tree_find(a, "g"));
    yaml_tree_free(root);
    yaml_tree_free(NULL);
}

static void test_null(void **state)
{
    (void)state;
    static const char *const empty[] = {"",        "\n\n",   "# x\n",   "---\n",
                                        "--- ~\n", "null\n", "---\n..."};
    for (size_t i = 0; i < COUNT(empty); i++) {
        assert_null(parse(empty[i]));
    }
    struct yaml_node *root = parse("[~, null, '', \"null\", x]");
    static const bool expected[] = {true, true, false, false, false};
    for (size_t i = 0; i < COUNT(expected); i++) {
        assert_int_equal(yaml_tree_is_null(root->items[i]), expected[i]);
    }
    assert_false(yaml_tree_is_null(root));
    yaml_tree_free(root);
}

static void test_refusals(void **state)
{
    (void)state;
    expect_error("a: b: c", 1, "mapping values are not allowed");
    expect_error("a: 1\nb: 2\na: 3\n", 3, "the key \"a\" is there twice");
    expect_error("a: &x 1\n", 1, "anchors and aliases");
    expect_error("a: 1\nb: &x [1]\n", 2, "anchors and aliases");
    expect_error("b: &x {a: 1}\n", 1, "anchors and aliases");
    expect_error("a: *x\n", 1, "anchors and aliases");
    expect_error("a: !!str 1\n", 1, "tags are not taken");
    expect_error("a: !x [1]\n", 1, "tags are not taken");
    expect_error("a: \"x\\0y\"\n", 1, "zero byte");
    expect_error("a: 1\n---\nb: 2\n", 2, "more than one document");
    expect_error("? [a]\n: b\n", 1, "a key is no plain text");
    expect_error("a: [1\n", 2, "");
    expect_error("a: \"\xff\"\n", 1, "");
    expect_error("\ta: 1\n", 1, "");
}

static void test_depth(void **state)
{
    (void)state;
    char text[64] = "";
    memset(text, '[', YAML_TREE_DEPTH_MAX);
    memset(text + YAML_TREE_DEPTH_MAX, ']', YAML_TREE_DEPTH_MAX);
    yaml_tree_free(parse(text));
    memset(text, '[', YAML_TREE_DEPTH_MAX + 2);
    expect_error(text, 1, "nested too deeply");
}

static void test_number_of_values(void **state)
{
    (void)state;
    char *text = calloc(1, 2 * YAML_TREE_NODES_MAX + 3);
    assert_non_null(text);
    text[0] = '[';
    for (size_t i = 0; i < YAML_TREE_NODES_MAX; i++) {
        memcpy(text + 1 + 2 * i, "a,", 2);
    }
    expect_error(text, 1, "too many values");
    memcpy(text + 1 + 2 * (YAML_TREE_NODES_MAX - 2), "a]", 3);
    struct yaml_node *root = parse(text);
    assert_int_equal(root->count, YAML_TREE_NODES_MAX - 1);
    yaml_tree_free(root);
    free(text);
}

static void test_size(void **state)
{
    (void)state;
    char *text = calloc(1, YAML_TREE_BYTES_MAX + 2);
    assert_non_null(text);
    memset(text, '\n', YAML_TREE_BYTES_MAX + 1);
    expect_error(text, 0, "longer than 1 MiB");
    text[YAML_TREE_BYTES_MAX] = '\0';
    assert_null(parse(text));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),           cmocka_unit_test(test_null),
        cmocka_unit_test(test_refusals),         cmocka_unit_test(test_depth),
        cmocka_unit_test(test_number_of_values), cmocka_unit_test(test_size),
    };
    return cmocka_run_group_tests_name("config/yaml_tree", tests, NULL, NULL);
}
