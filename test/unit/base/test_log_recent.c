/* The ring of warnings and errors, and what the log puts into it. */
#include "base/log_recent.h"

#include "base/buf.h"
#include "base/log.h"

#include "unit.h"

static char *print(struct log_recent *recent, struct buf *text)
{
    buf_deinit(text);
    buf_init(text, 1 << 20);
    assert_int_equal(log_recent_print(recent, text), 0);
    assert_int_equal(buf_append(text, "", 1), 0);
    return (char *)text->data;
}

static void test_lines_come_newest_first(void **state)
{
    (void)state;
    struct log_recent recent;
    struct buf text = {.data = NULL};
    log_recent_init(&recent);
    assert_string_equal(print(&recent, &text), "[]");
    log_recent_add(&recent, "1", 1);
    assert_string_equal(print(&recent, &text), "[1]");
    log_recent_add(&recent, "22", 2);
    assert_string_equal(print(&recent, &text), "[22,\n1]");
    buf_deinit(&text);
    log_recent_deinit(&recent);
}

static void test_the_oldest_goes_first(void **state)
{
    (void)state;
    struct log_recent recent;
    struct buf text = {.data = NULL};
    char line[16];
    char expected[16 * LOG_RECENT_MAX] = "[";
    log_recent_init(&recent);
    for (int i = 0; i < 3 * LOG_RECENT_MAX + 7; i++) {
        int bytes = snprintf(line, sizeof(line), "%d", i);
        log_recent_add(&recent, line, (size_t)bytes);
    }
    for (int i = 3 * LOG_RECENT_MAX + 6; i >= 2 * LOG_RECENT_MAX + 7; i--) {
        size_t size = strlen(expected);
        (void)snprintf(expected + size, sizeof(expected) - size, "%d%s", i,
                       i > 2 * LOG_RECENT_MAX + 7 ? ",\n" : "]");
    }
    assert_string_equal(print(&recent, &text), expected);
    buf_deinit(&text);
    log_recent_deinit(&recent);
}

static void test_print_needs_memory(void **state)
{
    (void)state;
    struct log_recent recent;
    struct buf text;
    log_recent_init(&recent);
    log_recent_add(&recent, "12345", 5);
    for (size_t ceiling = 0; ceiling < 7; ceiling++) {
        buf_init(&text, ceiling);
        assert_true(log_recent_print(&recent, &text) < 0);
        buf_deinit(&text);
    }
    log_recent_deinit(&recent);
}

/* Whatever the format and level of the log itself. */
static void test_the_log_keeps_warnings_and_errors_as_json(void **state)
{
    (void)state;
    struct log_recent recent;
    struct buf text = {.data = NULL};
    struct log log = {.level = LOG_LEVEL_ERROR, .format = LOG_FORMAT_LOGFMT, .recent = &recent};
    log_recent_init(&recent);
    log_debug(&log, "nothing");
    log_info(&log, "nothing");
    assert_string_equal(print(&recent, &text), "[]");
    log_warn(&log, "one", log_str("answer", "<b>\"\x1b"), log_u64("status", 404));
    log_error(&log, "two");
    const char *lines = print(&recent, &text);
    assert_non_null(strstr(lines, "\"level\":\"error\",\"msg\":\"two\"},\n{\"ts\":\""));
    assert_non_null(strstr(lines, "\"level\":\"warn\",\"msg\":\"one\","
                                  "\"answer\":\"<b>\\\"\\u001b\",\"status\":404}]"));
    buf_deinit(&text);
    log_recent_deinit(&recent);
}

static void test_a_long_line_is_cut_at_a_field(void **state)
{
    (void)state;
    struct log_recent recent;
    struct buf text = {.data = NULL};
    struct log log = {.recent = &recent};
    char endless[900];
    memset(endless, 'x', sizeof(endless) - 1);
    endless[sizeof(endless) - 1] = '\0';
    log_recent_init(&recent);
    log_warn(&log, "one", log_str("fits", endless), log_str("does_not", endless));
    const char *lines = print(&recent, &text);
    assert_non_null(strstr(lines, "\"fits\":\"xxx"));
    assert_null(strstr(lines, "does_not"));
    assert_non_null(strstr(lines, ",\"truncated\":true}]"));
    buf_deinit(&text);
    log_recent_deinit(&recent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_come_newest_first),
        cmocka_unit_test(test_the_oldest_goes_first),
        cmocka_unit_test(test_print_needs_memory),
        cmocka_unit_test(test_the_log_keeps_warnings_and_errors_as_json),
        cmocka_unit_test(test_a_long_line_is_cut_at_a_field),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
