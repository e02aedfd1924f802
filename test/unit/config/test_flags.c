/* Tests of config/flags with a table of their own: every kind, every way to write a value, every
 * refusal. */
#include "config/flags.h"

#include "../base/unit.h"

#include <errno.h>

enum fruit { FRUIT_APPLE, FRUIT_PEAR, FRUIT_PLUM };

struct settings {
    char *name;
    char *password;
    bool loud;
    bool dry;
    uint64_t count;
    uint64_t room;
    uint64_t wait_us;
    enum fruit fruit;
    int sum;
};

static const char *check_name(const char *text)
{
    return strlen(text) > 300 ? "is too long" : NULL;
}

static const char *check_password(const char *text)
{
    return strlen(text) < 8 ? "is too short" : NULL;
}

static const char *set_sum(void *settings, const char *text)
{
    struct settings *target = settings;
    int left = 0;
    int right = 0;
    if (sscanf(text, "%d+%d", &left, &right) != 2) {
        return "is no sum";
    }
    target->sum = left + right;
    return NULL;
}

static const struct flag FLAGS[] = {
    {.name = "name",
     .kind = FLAG_STRING,
     .offset = offsetof(struct settings, name),
     .required = true,
     .check = check_name},
    {.name = "pass.word",
     .kind = FLAG_STRING,
     .offset = offsetof(struct settings, password),
     .secret = true,
     .check = check_password},
    {.name = "loud",
     .kind = FLAG_BOOL,
     .offset = offsetof(struct settings, loud),
     .standard = "true"},
    {.name = "dry-run", .kind = FLAG_BOOL, .offset = offsetof(struct settings, dry)},
    {.name = "count",
     .kind = FLAG_NUMBER,
     .offset = offsetof(struct settings, count),
     .standard = "3",
     .min = 2,
     .max = 64},
    {.name = "room",
     .kind = FLAG_BYTES,
     .offset = offsetof(struct settings, room),
     .standard = "1MiB",
     .min = 1024,
     .max = 1 << 30},
    {.name = "wait",
     .kind = FLAG_DURATION,
     .offset = offsetof(struct settings, wait_us),
     .standard = "2m",
     .min = 1000,
     .max = UINT64_C(3600000000)},
    {.name = "fruit",
     .kind = FLAG_CHOICE,
     .offset = offsetof(struct settings, fruit),
     .standard = "pear",
     .choices = {"apple", "pear", "plum"}},
    {.name = "sum", .kind = FLAG_CUSTOM, .set = set_sum},
};

static const struct flag_table TABLE = {.flags = FLAGS, .count = COUNT(FLAGS)};

enum { NAME, PASSWORD, LOUD, DRY, NUMBER, ROOM, WAIT, FRUIT, SUM, FLAG_COUNT };

/* What one reading of arguments left. */
struct reading {
    struct settings settings;
    bool given[FLAG_COUNT];
    char error[FLAGS_ERROR_BYTES];
    int result;
};

static struct reading read_arguments(int argc, const char *const *words)
{
    struct reading reading = {.error = "none"};
    char *argv[32] = {NULL};
    assert_true(argc < (int)COUNT(argv));
    for (int i = 0; i < argc; i++) {
        argv[i] = strdup(words[i]); /* exact sizes, so that a sanitizer tells */
    }
    assert_int_equal(flags_set_defaults(&TABLE, &reading.settings, reading.error), 0);
    reading.result =
        flags_set_arguments(&TABLE, argc, argv, &reading.settings, reading.given, reading.error);
    for (int i = 0; i < argc; i++) {
        free(argv[i]);
    }
    return reading;
}

#define READ(...)                                                    \
    read_arguments((int)COUNT(((const char *const[]){__VA_ARGS__})), \
                   (const char *const[]){__VA_ARGS__})

static void done(struct reading *reading)
{
    flags_deinit(&TABLE, &reading->settings);
    assert_null(reading->settings.name);
    assert_null(reading->settings.password);
}

static void test_defaults(void **state)
{
    (void)state;
    struct reading reading = read_arguments(0, NULL);
    assert_int_equal(reading.result, 0);
    assert_null(reading.settings.name);
    assert_true(reading.settings.loud);
    assert_false(reading.settings.dry);
    assert_int_equal(reading.settings.count, 3);
    assert_int_equal(reading.settings.room, 1048576);
    assert_int_equal(reading.settings.wait_us, 120000000);
    assert_int_equal(reading.settings.fruit, FRUIT_PEAR);
    for (size_t i = 0; i < FLAG_COUNT; i++) {
        assert_false(reading.given[i]);
    }
    done(&reading);
}

static void test_every_kind_with_equals_sign(void **state)
{
    (void)state;
    struct reading reading =
        READ("--name=n", "--pass.word=12345678", "--loud=false", "--dry-run=true", "--count=64",
             "--room=2KiB", "--wait=1m30s", "--fruit=plum", "--sum=1+2");
    assert_int_equal(reading.result, 0);
    assert_string_equal(reading.settings.name, "n");
    assert_string_equal(reading.settings.password, "12345678");
    assert_false(reading.settings.loud);
    assert_true(reading.settings.dry);
    assert_int_equal(reading.settings.count, 64);
    assert_int_equal(reading.settings.room, 2048);
    assert_int_equal(reading.settings.wait_us, 90000000);
    assert_int_equal(reading.settings.fruit, FRUIT_PLUM);
    assert_int_equal(reading.settings.sum, 3);
    for (size_t i = 0; i < FLAG_COUNT; i++) {
        assert_true(reading.given[i]);
    }
    done(&reading);
}

static void test_every_kind_with_a_space(void **state)
{
    (void)state;
    struct reading reading =
        READ("--name", "n", "--loud", "false", "--dry-run", "true", "--count", "64", "--room",
             "2KiB", "--wait", "5s", "--fruit", "apple", "--sum", "-1+2");
    assert_int_equal(reading.result, 0);
    assert_string_equal(reading.settings.name, "n");
    assert_false(reading.settings.loud);
    assert_true(reading.settings.dry);
    assert_int_equal(reading.settings.count, 64);
    assert_int_equal(reading.settings.room, 2048);
    assert_int_equal(reading.settings.wait_us, 5000000);
    assert_int_equal(reading.settings.fruit, FRUIT_APPLE);
    assert_int_equal(reading.settings.sum, 1);
    assert_false(reading.given[PASSWORD]);
    assert_true(reading.given[SUM]);
    done(&reading);
}

static void test_booleans_alone(void **state)
{
    (void)state;
    struct reading reading = READ("--dry-run", "--no-loud", "--count=5");
    assert_int_equal(reading.result, 0);
    assert_true(reading.settings.dry);
    assert_false(reading.settings.loud);
    assert_int_equal(reading.settings.count, 5);
    assert_true(reading.given[LOUD]);
    done(&reading);
    reading = READ("--loud", "--dry-run");
    assert_true(reading.settings.loud);
    assert_true(reading.settings.dry);
    done(&reading);
}

static void test_last_one_wins(void **state)
{
    (void)state;
    struct reading reading =
        READ("--count=5", "--name=a", "--loud", "--count=6", "--no-loud", "--name=b");
    assert_int_equal(reading.result, 0);
    assert_int_equal(reading.settings.count, 6);
    assert_string_equal(reading.settings.name, "b");
    assert_false(reading.settings.loud);
    done(&reading);
}

static void test_quotes_are_stripped_once(void **state)
{
    (void)state;

    static const struct {
        const char *given;
        const char *kept;
    } cases[] = {{"\"a\"", "a"},         {"'a'", "a"},       {"\"\"", ""},     {"''", ""},
                 {"\"", "\""},           {"'", "'"},         {"\"a", "\"a"},   {"a\"", "a\""},
                 {"\"a'", "\"a'"},       {"\"'a'\"", "'a'"}, {"''a''", "'a'"}, {"", ""},
                 {"a\"b\"c", "a\"b\"c"}, {"\"a=b\"", "a=b"}};

    for (size_t i = 0; i < COUNT(cases); i++) {
        char joined[64];
        (void)snprintf(joined, sizeof(joined), "--name=%s", cases[i].given);
        struct reading reading = READ(joined);
        assert_int_equal(reading.result, 0);
        assert_string_equal(reading.settings.name, cases[i].kept);
        done(&reading);
        reading = READ("--name", cases[i].given);
        assert_int_equal(reading.result, 0);
        assert_string_equal(reading.settings.name, cases[i].kept);
        done(&reading);
    }
    struct reading reading = READ("--count='7'", "--loud=\"false\"", "--fruit", "\"plum\"");
    assert_int_equal(reading.result, 0);
    assert_int_equal(reading.settings.count, 7);
    assert_false(reading.settings.loud);
    assert_int_equal(reading.settings.fruit, FRUIT_PLUM);
    done(&reading);
}

static void expect_error(struct reading reading, const char *error)
{
    assert_int_equal(reading.result, -EINVAL);
    assert_string_equal(reading.error, error);
    done(&reading);
}

static void test_refused_values(void **state)
{
    (void)state;
    expect_error(READ("--count=x"), "--count: \"x\" is not a whole number");
    expect_error(READ("--count="), "--count: \"\" is not a whole number");
    expect_error(READ("--count=-5"), "--count: \"-5\" is not a whole number");
    expect_error(READ("--count=1"), "--count: \"1\" is not between 2 and 64");
    expect_error(READ("--count=65"), "--count: \"65\" is not between 2 and 64");
    expect_error(READ("--count=18446744073709551618"),
                 "--count: \"18446744073709551618\" is not between 2 and 64");
    expect_error(READ("--room=1"), "--room: \"1\" is not between 1KiB and 1GiB");
    expect_error(READ("--room=1073741825"), "--room: \"1073741825\" is not between 1KiB and 1GiB");
    expect_error(READ("--room=1Q"), "--room: \"1Q\" is not a size in bytes such as 512KiB, 32MiB "
                                    "or 1048576");
    expect_error(READ("--wait=0s"), "--wait: \"0s\" is not between 1ms and 1h");
    expect_error(READ("--wait=2h"), "--wait: \"2h\" is not between 1ms and 1h");
    expect_error(READ("--wait=20"), "--wait: \"20\" is not a duration such as 500ms, 20s or 1m30s");
    expect_error(READ("--fruit=fig"), "--fruit: \"fig\" is not one of apple, pear, plum");
    expect_error(READ("--fruit="), "--fruit: \"\" is not one of apple, pear, plum");
    expect_error(READ("--loud=yes"), "--loud: \"yes\" is neither true nor false");
    expect_error(READ("--sum=3"), "--sum: \"3\" is no sum");
    expect_error(READ("--no-loud=true"), "--no-loud: takes no value");
}

static void test_bounds_pass(void **state)
{
    (void)state;
    struct reading reading = READ("--count=2", "--room=1KiB", "--wait=1ms");
    assert_int_equal(reading.result, 0);
    done(&reading);
    reading = READ("--count=64", "--room=1GiB", "--wait=1h");
    assert_int_equal(reading.result, 0);
    done(&reading);
}

static void test_missing_value(void **state)
{
    (void)state;
    expect_error(READ("--name"), "--name: a value is missing");
    expect_error(READ("--name", "--count=5"), "--name: a value is missing");
    struct reading reading = READ("--name", "-5");
    assert_string_equal(reading.settings.name, "-5");
    done(&reading);
    reading = READ("--name=--x");
    assert_string_equal(reading.settings.name, "--x");
    done(&reading);
}

static void test_unknown_flags(void **state)
{
    (void)state;
    expect_error(READ("--nane=1"), "--nane: unknown flag, did you mean --name?");
    expect_error(READ("--cuont", "1"), "--cuont: unknown flag, did you mean --count?");
    expect_error(READ("--pass-word=secret99"), "--pass-word: unknown flag, did you mean "
                                               "--pass.word?");
    expect_error(READ("--dryrun"), "--dryrun: unknown flag, did you mean --dry-run?");
    expect_error(READ("--fruiit=1"), "--fruiit: unknown flag, did you mean --fruit?");
    expect_error(READ("--frit=1"), "--frit: unknown flag, did you mean --fruit?");
    expect_error(READ("--ount=1"), "--ount: unknown flag, did you mean --count?");
    expect_error(READ("--xcount=1"), "--xcount: unknown flag, did you mean --count?");
    expect_error(READ("--countx=1"), "--countx: unknown flag, did you mean --count?");
    expect_error(READ("-count=1"), "-count: unknown flag, did you mean --count?");
    expect_error(READ("--Name=1"), "--Name: unknown flag, did you mean --name?");
    expect_error(READ("--banana"), "--banana: unknown flag; --help lists them");
    expect_error(READ("-x"), "-x: unknown flag; --help lists them");
    expect_error(READ("--"), "--: unknown flag; --help lists them");
    expect_error(READ("-"), "-: unknown flag; --help lists them");
    expect_error(READ("--=5"), "--: unknown flag; --help lists them");
    expect_error(READ("---name=5"), "---name: unknown flag, did you mean --name?");
    expect_error(READ("--no-count"), "--no-count: unknown flag, did you mean --count?");
    expect_error(READ("--no-"), "--no-: unknown flag; --help lists them");
}

static void test_stray_words(void **state)
{
    (void)state;
    expect_error(READ("run"), "\"run\": only flags are expected, each beginning with --");
    expect_error(READ("--loud", "yes"), "\"yes\": only flags are expected, each beginning with --");
    expect_error(READ("--name=a", "b"), "\"b\": only flags are expected, each beginning with --");
    expect_error(READ(""), "\"\": only flags are expected, each beginning with --");
    expect_error(READ("--no-loud", "true"),
                 "\"true\": only flags are expected, each beginning with --");
}

/* A message is one line of bounded length whatever it has to show. */
static void test_message_of_any_value(void **state)
{
    (void)state;
    expect_error(READ("--count=a\nb\x1b[2J\"\xff"),
                 "--count: \"a\\nb\\u001b[2J\\\"\\ufffd\" is not a whole number");
    expect_error(READ("--\x1b[1m=3"), "--\\u001b[1m: unknown flag; --help lists them");
    char text[5000] = "--fruit=";
    memset(text + 8, '\x01', sizeof(text) - 9);
    text[sizeof(text) - 1] = '\0';
    struct reading reading = READ(text);
    assert_int_equal(reading.result, -EINVAL);
    assert_non_null(strstr(reading.error, "\\u0001...\" is not one of apple, pear, plum"));
    assert_true(strlen(reading.error) < 200);
    done(&reading);
    memset(text, '-', sizeof(text) - 1);
    reading = READ(text);
    assert_int_equal(reading.result, -EINVAL);
    assert_true(strlen(reading.error) < 200);
    done(&reading);
    memset(text + 2, 'n', sizeof(text) - 3);
    reading = READ(text);
    assert_int_equal(reading.result, -EINVAL);
    assert_non_null(strstr(reading.error, "nnn...: unknown flag; --help lists them"));
    done(&reading);
}

static void test_secret_is_never_shown(void **state)
{
    (void)state;
    expect_error(READ("--pass.word=hunter2"), "--pass.word: the value (not shown) is too short");
    expect_error(READ("--pas.word=hunter2"), "--pas.word: unknown flag, did you mean --pass.word?");
}

static void test_refusal_keeps_the_field(void **state)
{
    (void)state;
    char error[FLAGS_ERROR_BYTES];
    char long_name[400];
    memset(long_name, 'n', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    struct reading reading = READ("--name=kept", "--count=9", "--loud=false", "--fruit=plum");
    assert_int_equal(flag_set(&FLAGS[NAME], NULL, long_name, &reading.settings, error), -EINVAL);
    assert_int_equal(flag_set(&FLAGS[NUMBER], NULL, "99", &reading.settings, error), -EINVAL);
    assert_int_equal(flag_set(&FLAGS[LOUD], NULL, "x", &reading.settings, error), -EINVAL);
    assert_int_equal(flag_set(&FLAGS[FRUIT], NULL, "x", &reading.settings, error), -EINVAL);
    assert_int_equal(flag_set(&FLAGS[ROOM], NULL, "x", &reading.settings, error), -EINVAL);
    assert_string_equal(reading.settings.name, "kept");
    assert_int_equal(reading.settings.count, 9);
    assert_false(reading.settings.loud);
    assert_int_equal(reading.settings.fruit, FRUIT_PLUM);
    assert_int_equal(reading.settings.room, 1048576);
    assert_int_equal(flag_set(&FLAGS[NAME], NULL, "next", &reading.settings, error), 0);
    assert_string_equal(reading.settings.name, "next");
    done(&reading);
}

static void test_required(void **state)
{
    (void)state;
    struct reading reading = READ("--count=5");
    assert_int_equal(flags_check_required(&TABLE, reading.given, reading.error), -EINVAL);
    assert_string_equal(reading.error, "--name: is required, and was not given");
    done(&reading);
    reading = READ("--name=");
    assert_int_equal(flags_check_required(&TABLE, reading.given, reading.error), 0);
    done(&reading);
}

static void test_find(void **state)
{
    (void)state;
    assert_ptr_equal(flags_find(&TABLE, "count", 5), &FLAGS[NUMBER]);
    assert_ptr_equal(flags_find(&TABLE, "count=5", 5), &FLAGS[NUMBER]);
    assert_null(flags_find(&TABLE, "count", 4));
    assert_null(flags_find(&TABLE, "counts", 6));
    assert_null(flags_find(&TABLE, "", 0));
}

static void test_bad_default_is_told(void **state)
{
    (void)state;
    static const struct flag bad[] = {
        {.name = "n", .kind = FLAG_NUMBER, .standard = "x", .max = 1}};
    const struct flag_table table = {.flags = bad, .count = 1};
    uint64_t settings = 0;
    char error[FLAGS_ERROR_BYTES];
    assert_int_equal(flags_set_defaults(&table, &settings, error), -EINVAL);
    assert_string_equal(error, "--n: \"x\" is not a whole number");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_every_kind_with_equals_sign),
        cmocka_unit_test(test_every_kind_with_a_space),
        cmocka_unit_test(test_booleans_alone),
        cmocka_unit_test(test_last_one_wins),
        cmocka_unit_test(test_quotes_are_stripped_once),
        cmocka_unit_test(test_refused_values),
        cmocka_unit_test(test_bounds_pass),
        cmocka_unit_test(test_missing_value),
        cmocka_unit_test(test_unknown_flags),
        cmocka_unit_test(test_stray_words),
        cmocka_unit_test(test_message_of_any_value),
        cmocka_unit_test(test_secret_is_never_shown),
        cmocka_unit_test(test_refusal_keeps_the_field),
        cmocka_unit_test(test_required),
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_bad_default_is_told),
    };
    return cmocka_run_group_tests_name("config/flags", tests, NULL, NULL);
}
