/* Tests of config/print: the page, and that the program's own settings come back from it. */
#include "config/print.h"

#include "config/settings.h"
#include "config/sources.h"
#include "folder.h"

struct settings {
    char *name;
    char *word;
    bool loud;
    uint64_t wait_us;
};

static const struct flag FLAGS[] = {
    {.name = "name",
     .group = "One",
     .kind = FLAG_STRING,
     .offset = offsetof(struct settings, name)},
    {.name = "none",
     .group = "One",
     .kind = FLAG_STRING,
     .secret = true,
     .offset = offsetof(struct settings, name)},
    {.name = "act", .group = "One", .kind = FLAG_BOOL, .scope = FLAG_ON_COMMAND_LINE},
    {.name = "word",
     .group = "Two",
     .kind = FLAG_STRING,
     .secret = true,
     .offset = offsetof(struct settings, word)},
    {.name = "loud", .group = "Two", .kind = FLAG_BOOL, .offset = offsetof(struct settings, loud)},
    {.name = "maxWait",
     .group = "Two",
     .kind = FLAG_DURATION,
     .offset = offsetof(struct settings, wait_us)},
};

static const struct flag_table TABLE = {.flags = FLAGS, .count = COUNT(FLAGS)};

static void test_page(void **state)
{
    (void)state;
    char name[] = "a \"b\"\n\x7f";
    char word[] = "hunter2";
    struct settings settings = {.name = name, .word = word, .loud = true, .wait_us = 90000000};
    struct config_source origins[COUNT(FLAGS)] = {
        [0] = {.origin = CONFIG_ORIGIN_FLAG},
        [3] = {.origin = CONFIG_ORIGIN_FILE, .line = 7},
        [5] = {.origin = CONFIG_ORIGIN_ENVIRONMENT},
    };
    struct buf text;
    buf_init(&text, 65536);
    assert_int_equal(print_settings(&TABLE, &settings, origins, "f.yml", &text), 0);
    assert_int_equal(buf_append(&text, "", 1), 0);
    assert_string_equal((char *)text.data, "# One\n"
                                           "name: \"a \\\"b\\\"\\n\\u007f\" # flag\n"
                                           "# none: <secret> # default\n"
                                           "\n"
                                           "# Two\n"
                                           "# word: <secret> # f.yml:7\n"
                                           "loud: true # default\n"
                                           "maxWait: 1m30s # environment: AGENT_PROXY_MAX_WAIT\n");
    buf_deinit(&text);
}

static void test_a_page_that_does_not_fit(void **state)
{
    (void)state;
    struct settings settings = {0};
    struct config_source origins[COUNT(FLAGS)] = {{0}};
    for (size_t ceiling = 0; ceiling < 40; ceiling++) {
        struct buf text;
        buf_init(&text, ceiling);
        assert_true(print_settings(&TABLE, &settings, origins, NULL, &text) < 0);
        buf_deinit(&text);
    }
}

static void print_program(const struct config_command *command, struct buf *text)
{
    buf_init(text, 1 << 20);
    assert_int_equal(print_settings(&SETTINGS, command, command->config.sources, "f.yml", text), 0);
}

/* What is printed is read, and prints the same but for where it comes from. */
static void test_settings_come_back(void **state)
{
    (void)state;
    static char *const words[] = {"agent-proxy",
                                  "--gateway.address=https://[::1]:8443/a",
                                  "--tenant=t",
                                  "--http-address=[::1]:9090",
                                  "--batch.linger=1500us",
                                  "--http.config=/a b/\xc3\xa4\"c\".yml",
                                  "--no-tenant.path-prefix"};
    struct config_command first = {0};
    struct config_command second = {0};
    struct buf text;
    struct buf again;
    struct folder folder;
    char error[CONFIG_ERROR_BYTES];
    assert_int_equal(config_parse((int)COUNT(words), words, &first.config, error), CONFIG_RUN);
    first.read_prefix = CONFIG_PREFIX_OFF;
    print_program(&first, &text);
    folder_init(&folder);
    const char *path = folder_write_bytes(&folder, "f.yml", text.data, text.size);
    second.config.sources = calloc(SETTINGS.count, sizeof(*second.config.sources));
    if (sources_set_file(&SETTINGS, path, &second, second.config.sources, error) < 0) {
        fail_msg("%s", error);
    }
    for (size_t i = 0; i < SETTINGS.count; i++) {
        bool here = SETTINGS.flags[i].scope == FLAG_ANYWHERE; /* no secret is set */
        assert_int_equal(second.config.sources[i].origin == CONFIG_ORIGIN_FILE, here);
        second.config.sources[i] = first.config.sources[i];
    }
    print_program(&second, &again);
    assert_int_equal(again.size, text.size);
    assert_memory_equal(again.data, text.data, text.size);
    buf_deinit(&text);
    buf_deinit(&again);
    folder_deinit(&folder);
    settings_deinit(&first);
    settings_deinit(&second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_page),
        cmocka_unit_test(test_a_page_that_does_not_fit),
        cmocka_unit_test(test_settings_come_back),
    };
    return cmocka_run_group_tests_name("config/print", tests, NULL, NULL);
}
