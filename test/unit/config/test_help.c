/* Tests of config/help: the page, line by line, and its width. */
#include "config/help.h"

#include "../base/unit.h"

#include <errno.h>

static const struct flag FLAGS[] = {
    {.name = "a",
     .group = "One",
     .argument = "X",
     .kind = FLAG_STRING,
     .required = true,
     .help = "Short."},
    {.name = "b",
     .group = "One",
     .argument = "",
     .kind = FLAG_BOOL,
     .standard = "true",
     .help = "A switch."},
    {.name = "help", .group = "One", .argument = "", .kind = FLAG_BOOL, .help = "This."},
    {.name = "a-flag-with-a-rather-long-name",
     .group = "Two",
     .argument = "Y",
     .kind = FLAG_NUMBER,
     .standard = "17",
     .help = "Words that go on for so long that they do not fit beside the name of the flag and "
             "need a second line."},
    {.name = "empty",
     .group = "Two",
     .argument = "Z",
     .kind = FLAG_STRING,
     .standard = "",
     .help = "No default is shown."},
};

static const struct flag_table TABLE = {.flags = FLAGS, .count = COUNT(FLAGS)};

static void test_page(void **state)
{
    (void)state;
    struct buf text;
    buf_init(&text, 1 << 16);
    assert_int_equal(help_print(&TABLE, &text), 0);
    assert_int_equal(buf_append(&text, "", 1), 0);
    assert_string_equal(
        (char *)text.data,
        "\n"
        "One:\n"
        "  --a=X                             Short. Required.\n"
        "  --[no-]b                          A switch. Default: true\n"
        "  --help                            This.\n"
        "\n"
        "Two:\n"
        "  --a-flag-with-a-rather-long-name=Y\n"
        "                                    Words that go on for so long that they do not fit "
        "beside the\n"
        "                                    name of the flag and need a second line. Default: "
        "17\n"
        "  --empty=Z                         No default is shown.\n");
    buf_deinit(&text);
}

/* Every length of a help text stays in the columns, and no word is lost. */
static void test_width(void **state)
{
    (void)state;
    char help[400];
    for (size_t bytes = 1; bytes < sizeof(help) - 1; bytes++) {
        for (size_t i = 0; i < bytes; i++) {
            help[i] = i % 6 == 5 && i + 1 < bytes ? ' ' : 'w';
        }
        help[bytes] = '\0';
        const struct flag flag = {
            .name = "f", .group = "G", .argument = "N", .help = help, .standard = "0123456789"};
        const struct flag_table table = {.flags = &flag, .count = 1};
        struct buf text;
        buf_init(&text, 4096);
        assert_int_equal(help_print(&table, &text), 0);
        assert_int_equal(buf_append(&text, "", 1), 0);
        size_t letters = 0;
        for (char *line = (char *)text.data; *line != '\0'; line += strcspn(line, "\n") + 1) {
            size_t width = strcspn(line, "\n");
            assert_true(width <= HELP_COLUMNS);
            assert_true(width == 0 || line[width - 1] != ' ');
            for (size_t i = 0; i < width; i++) {
                letters += line[i] == 'w';
            }
        }
        size_t expected = 0;
        for (size_t i = 0; i < bytes; i++) {
            expected += help[i] == 'w';
        }
        assert_int_equal(letters, expected);
        assert_non_null(strstr((char *)text.data, "Default: 0123456789\n"));
        buf_deinit(&text);
    }
}

static void test_default_longer_than_a_line(void **state)
{
    (void)state;
    static const struct flag flag = {
        .name = "f",
        .group = "G",
        .argument = "N",
        .help = "Help.",
        .standard = "one-two-three-four-five-six-seven-eight-nine-ten-eleven-twelve"};
    const struct flag_table table = {.flags = &flag, .count = 1};
    struct buf text;
    buf_init(&text, 4096);
    assert_int_equal(help_print(&table, &text), 0);
    assert_int_equal(buf_append(&text, "", 1), 0);
    assert_string_equal((char *)text.data,
                        "\nG:\n"
                        "  --f=N                             Help. Default:\n"
                        "                                    one-two-three-four-five-six-seven-"
                        "eight-nine-ten-eleven-twelve\n");
    buf_deinit(&text);
}

static void test_without_room_nothing_is_added(void **state)
{
    (void)state;
    struct buf text;
    for (size_t ceiling = 2; ceiling < 450; ceiling += 7) {
        buf_init(&text, ceiling);
        assert_int_equal(buf_append(&text, "ab", 2), 0);
        assert_int_equal(help_print(&TABLE, &text), -EMSGSIZE);
        assert_int_equal(text.size, 2);
        buf_deinit(&text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_page),
        cmocka_unit_test(test_width),
        cmocka_unit_test(test_default_longer_than_a_line),
        cmocka_unit_test(test_without_room_nothing_is_added),
    };
    return cmocka_run_group_tests_name("config/help", tests, NULL, NULL);
}
