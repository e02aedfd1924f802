/* Tests of config/sources: what the environment and a file give, and what their mistakes say. */
#include "config/sources.h"

#include "config/settings.h"
#include "folder.h"

#include <errno.h>

struct settings {
    char *name;
    char *word;
    bool loud;
    uint64_t count;
};

static const struct flag FLAGS[] = {
    {.name = "the.name",
     .kind = FLAG_STRING,
     .optional = true,
     .offset = offsetof(struct settings, name)},
    {.name = "pass-word",
     .kind = FLAG_STRING,
     .secret = true,
     .offset = offsetof(struct settings, word)},
    {.name = "loud", .kind = FLAG_BOOL, .offset = offsetof(struct settings, loud)},
    {.name = "maxCountOfX",
     .kind = FLAG_NUMBER,
     .max = 9,
     .offset = offsetof(struct settings, count)},
    {.name = "act",
     .kind = FLAG_BOOL,
     .scope = FLAG_ON_COMMAND_LINE,
     .offset = offsetof(struct settings, loud)},
    {.name = "file",
     .kind = FLAG_STRING,
     .scope = FLAG_NOT_IN_FILE,
     .offset = offsetof(struct settings, name)},
};

static const struct flag_table TABLE = {.flags = FLAGS, .count = COUNT(FLAGS)};

enum { NAME, WORD, LOUD, NUMBER, ACT, FILE_NAME, FLAG_COUNT };

/* What one reading left. */
struct reading {
    struct settings settings;
    struct config_source origins[FLAG_COUNT];
    char error[FLAGS_ERROR_BYTES];
    int result;
};

static const char *const VARIABLES[] = {"AGENT_PROXY_THE_NAME", "AGENT_PROXY_PASS_WORD",
                                        "AGENT_PROXY_LOUD",     "AGENT_PROXY_MAX_COUNT_OF_X",
                                        "AGENT_PROXY_ACT",      "AGENT_PROXY_FILE"};

static struct reading read_environment(void)
{
    struct reading reading = {.error = "none"};
    reading.result =
        sources_set_environment(&TABLE, &reading.settings, reading.origins, reading.error);
    for (size_t i = 0; i < COUNT(VARIABLES); i++) {
        unsetenv(VARIABLES[i]);
    }
    return reading;
}

static struct reading read_text(const char *text)
{
    struct reading reading = {.error = "none"};
    struct folder folder;
    folder_init(&folder);
    const char *path = folder_write(&folder, "f.yml", text);
    reading.result =
        sources_set_file(&TABLE, path, &reading.settings, reading.origins, reading.error);
    char *found = strstr(reading.error, folder.path);
    if (found != NULL) { /* so that the rest can be compared */
        memmove(found, found + strlen(folder.path) + 1,
                strlen(found + strlen(folder.path) + 1) + 1);
    }
    folder_deinit(&folder);
    return reading;
}

static void expect_error(struct reading reading, const char *error)
{
    assert_string_equal(reading.error, error);
    assert_int_equal(reading.result, -EINVAL);
    flags_deinit(&TABLE, &reading.settings);
}

static void test_names_of_variables(void **state)
{
    (void)state;
    char name[SOURCES_NAME_BYTES];
    for (size_t i = 0; i < COUNT(VARIABLES); i++) {
        sources_name_variable(&FLAGS[i], name);
        assert_string_equal(name, VARIABLES[i]);
    }
}

/* Kubernetes makes AGENT_PROXY_SERVICE_HOST, AGENT_PROXY_PORT_9090_TCP and so on for a service
 * that is named agent-proxy: no flag's variable may be among them, nor two flags' the same. */
static void test_names_of_this_programs_variables(void **state)
{
    (void)state;
    char name[SOURCES_NAME_BYTES];
    char other[SOURCES_NAME_BYTES];
    for (size_t i = 0; i < SETTINGS.count; i++) {
        sources_name_variable(&SETTINGS.flags[i], name);
        assert_int_not_equal(strncmp(name, "AGENT_PROXY_PORT", 16), 0);
        assert_int_not_equal(strncmp(name, "AGENT_PROXY_SERVICE_", 20), 0);
        for (size_t j = 0; j < i; j++) {
            sources_name_variable(&SETTINGS.flags[j], other);
            assert_string_not_equal(name, other);
        }
    }
}

static void test_environment(void **state)
{
    (void)state;
    setenv("AGENT_PROXY_THE_NAME", "\"quoted\"", 1);
    setenv("AGENT_PROXY_PASS_WORD", "word", 1);
    setenv("AGENT_PROXY_LOUD", "true", 1);
    setenv("AGENT_PROXY_MAX_COUNT_OF_X", "9", 1);
    setenv("AGENT_PROXY_ACT", "perhaps", 1);
    setenv("AGENT_PROXY_PORT_9090_TCP", "tcp://10.0.0.1:9090", 1);
    struct reading reading = read_environment();
    assert_int_equal(reading.result, 0);
    assert_string_equal(reading.settings.name, "quoted");
    assert_string_equal(reading.settings.word, "word");
    assert_true(reading.settings.loud);
    assert_int_equal(reading.settings.count, 9);
    for (size_t i = 0; i < FLAG_COUNT; i++) {
        assert_int_equal(reading.origins[i].origin,
                         i < ACT ? CONFIG_ORIGIN_ENVIRONMENT : CONFIG_ORIGIN_DEFAULT);
    }
    flags_deinit(&TABLE, &reading.settings);
}

static void test_an_empty_variable_is_none(void **state)
{
    (void)state;
    setenv("AGENT_PROXY_MAX_COUNT_OF_X", "", 1);
    struct reading reading = read_environment();
    assert_int_equal(reading.result, 0);
    assert_int_equal(reading.origins[NUMBER].origin, CONFIG_ORIGIN_DEFAULT);
}

static void test_mistakes_in_the_environment(void **state)
{
    (void)state;
    setenv("AGENT_PROXY_MAX_COUNT_OF_X", "10", 1);
    expect_error(read_environment(), "AGENT_PROXY_MAX_COUNT_OF_X: \"10\" is not between 0 and 9");
    setenv("AGENT_PROXY_LOUD", "yes", 1);
    expect_error(read_environment(), "AGENT_PROXY_LOUD: \"yes\" is neither true nor false");
}

static void test_file(void **state)
{
    (void)state;
    struct reading reading = read_text("# a comment\n"
                                       "the.name: plain text\n"
                                       "pass-word: |\n"
                                       "  two\n"
                                       "  lines\n"
                                       "loud: true\n"
                                       "maxCountOfX: '7'\n");
    assert_string_equal(reading.error, "none");
    assert_int_equal(reading.result, 0);
    assert_string_equal(reading.settings.name, "plain text");
    assert_string_equal(reading.settings.word, "two\nlines\n");
    assert_true(reading.settings.loud);
    assert_int_equal(reading.settings.count, 7);
    assert_int_equal(reading.origins[NAME].origin, CONFIG_ORIGIN_FILE);
    assert_int_equal(reading.origins[NAME].line, 2);
    assert_int_equal(reading.origins[NUMBER].line, 7);
    assert_int_equal(reading.origins[ACT].origin, CONFIG_ORIGIN_DEFAULT);
    flags_deinit(&TABLE, &reading.settings);

    static const char *const empty[] = {"", "\n", "---\n", "# nothing\n"};
    for (size_t i = 0; i < COUNT(empty); i++) {
        assert_int_equal(read_text(empty[i]).result, 0);
    }
    reading = read_text("the.name:\n");
    assert_int_equal(reading.result, 0);
    assert_null(reading.settings.name);
}

static void test_mistakes_in_a_file(void **state)
{
    (void)state;
    expect_error(read_text("loud: true\nthename: x\n"),
                 "f.yml:2: \"thename\" is no flag, did you mean the.name?");
    expect_error(read_text("zzzzzzzz: x\n"), "f.yml:1: \"zzzzzzzz\" is no flag; --help lists them");
    expect_error(read_text("loud: true\n\nloud: false\n"),
                 "--config.file: f.yml:3: the key \"loud\" is there twice");
    expect_error(read_text("the.name: [a]\n"), "f.yml:1: the.name: one value is expected");
    expect_error(read_text("act: true\n"), "f.yml:1: act: cannot be given in a file");
    expect_error(read_text("file: x\n"), "f.yml:1: file: cannot be given in a file");
    expect_error(read_text("\nmaxCountOfX: many\n"),
                 "f.yml:2: maxCountOfX: \"many\" is not a whole number");
    expect_error(read_text("- a\n"),
                 "--config.file: f.yml:1: flags are expected, as \"name: value\"");
    expect_error(read_text("a: b: c\n"),
                 "--config.file: f.yml:1: mapping values are not allowed in this context");
}

static void test_a_file_that_cannot_be_read(void **state)
{
    (void)state;
    struct reading reading = {.error = "none"};
    reading.result = sources_set_file(&TABLE, "/nowhere/f.yml", &reading.settings, reading.origins,
                                      reading.error);
    expect_error(reading, "--config.file: /nowhere/f.yml: No such file or directory");
    reading.result =
        sources_set_file(&TABLE, "/", &reading.settings, reading.origins, reading.error);
    expect_error(reading, "--config.file: /: is no regular file");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_of_variables),
        cmocka_unit_test(test_names_of_this_programs_variables),
        cmocka_unit_test(test_environment),
        cmocka_unit_test(test_an_empty_variable_is_none),
        cmocka_unit_test(test_mistakes_in_the_environment),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_mistakes_in_a_file),
        cmocka_unit_test(test_a_file_that_cannot_be_read),
    };
    return cmocka_run_group_tests_name("config/sources", tests, NULL, NULL);
}
