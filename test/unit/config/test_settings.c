/* Tests of config/settings: what must hold for each row of the table. */
#include "config/settings.h"

#include "../base/unit.h"

static void test_rows_are_whole(void **state)
{
    (void)state;
    assert_true(SETTINGS.count > 0 && SETTINGS.count <= SETTINGS_MAX);
    for (size_t i = 0; i < SETTINGS.count; i++) {
        const struct flag *flag = &SETTINGS.flags[i];
        assert_non_null(flag->name);
        assert_non_null(flag->group);
        assert_non_null(flag->argument);
        assert_int_equal(flag->kind == FLAG_BOOL, flag->argument[0] == '\0');
        assert_int_equal(flag->help[strlen(flag->help) - 1], '.');
        assert_int_equal(flag->kind == FLAG_CUSTOM, flag->set != NULL);
        assert_true(flag->min <= flag->max);
        assert_false(flag->required && flag->standard != NULL);
        assert_true(!flag->optional || (flag->kind == FLAG_STRING && flag->standard == NULL));
        if (flag->kind != FLAG_CUSTOM) {
            assert_true(flag->offset < sizeof(struct config_command));
        }
    }
}

static void test_names_differ(void **state)
{
    (void)state;
    for (size_t i = 0; i < SETTINGS.count; i++) {
        const char *name = SETTINGS.flags[i].name;
        assert_ptr_equal(flags_find(&SETTINGS, name, strlen(name)), &SETTINGS.flags[i]);
        assert_int_not_equal(strncmp(name, "no-", 3), 0); /* would be read as a negation */
    }
}

static void test_rows_of_a_group_stand_together(void **state)
{
    (void)state;
    for (size_t i = 1; i < SETTINGS.count; i++) {
        const char *group = SETTINGS.flags[i].group;
        for (size_t j = 0; strcmp(SETTINGS.flags[i - 1].group, group) != 0 && j < i; j++) {
            assert_string_not_equal(SETTINGS.flags[j].group, group);
        }
    }
}

static void test_fields_are_not_shared(void **state)
{
    (void)state;
    for (size_t i = 0; i < SETTINGS.count; i++) {
        for (size_t j = 0; j < i; j++) {
            const struct flag *one = &SETTINGS.flags[i];
            const struct flag *other = &SETTINGS.flags[j];
            assert_true(one->kind == FLAG_CUSTOM || other->kind == FLAG_CUSTOM ||
                        one->offset != other->offset);
        }
    }
}

static void test_defaults_pass(void **state)
{
    (void)state;
    struct config_command command = {0};
    char error[FLAGS_ERROR_BYTES] = "none";
    if (flags_set_defaults(&SETTINGS, &command, error) < 0) {
        fail_msg("%s", error);
    }
    settings_complete(&command);
    assert_null(command.config.gateway_read_address.text);
    assert_true(command.config.gateway_read_path_prefix);
    settings_deinit(&command);
    assert_null(command.config.http_host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_are_whole),
        cmocka_unit_test(test_names_differ),
        cmocka_unit_test(test_rows_of_a_group_stand_together),
        cmocka_unit_test(test_fields_are_not_shared),
        cmocka_unit_test(test_defaults_pass),
    };
    return cmocka_run_group_tests_name("config/settings", tests, NULL, NULL);
}
