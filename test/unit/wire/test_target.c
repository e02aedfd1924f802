/* Targets of relayed reads: what is glued to what, and which bytes a query may have. */
#include "wire/target.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

static void test_parts(void **state)
{
    (void)state;

    static const struct {
        const char *prefix, *target, *form, *printed;
    } cases[] = {
        {"", "/api/v1/query", "", "/api/v1/query"},
        {"/member-1", "/api/v1/query", "", "/member-1/api/v1/query"},
        {"/base/member-1", "/api/v1/query?query=up", "", "/base/member-1/api/v1/query?query=up"},
        {"", "/api/v1/query?", "", "/api/v1/query?"},
        {"", "/api/v1/series", "a=b", "/api/v1/series?a=b"},
        {"", "/api/v1/series?", "a=b", "/api/v1/series?a=b"},
        {"", "/api/v1/series?c=d", "a=b", "/api/v1/series?c=d&a=b"},
        {"", "/api/v1/series?c=d&", "a=b", "/api/v1/series?c=d&a=b"},
        {"", "/api/v1/series?c=d", "&a=b", "/api/v1/series?c=d&&a=b"},
        {"", "/api/v1/series?c=d?", "a=b", "/api/v1/series?c=d?&a=b"},
        {"/t", "/p?a=%2e%2e/../", "/../?x=%00", "/t/p?a=%2e%2e/../&/../?x=%00"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf out;
        buf_init(&out, 1024);
        assert_int_equal(target_print(&out, cases[i].prefix, cases[i].target, cases[i].form,
                                      strlen(cases[i].form)),
                         0);
        assert_int_equal(out.size, strlen(cases[i].printed) + 1);
        assert_string_equal((const char *)out.data, cases[i].printed);
        buf_deinit(&out);
    }
}

static void test_form_need_not_end_in_nul(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 1024);
    assert_int_equal(target_print(&out, "/t", "/p", "a=bcd", 3), 0);
    assert_string_equal((const char *)out.data, "/t/p?a=b");
    buf_deinit(&out);
    buf_init(&out, 1024);
    assert_int_equal(target_print(&out, "/t", "/p", NULL, 0), 0);
    assert_string_equal((const char *)out.data, "/t/p");
    buf_deinit(&out);
}

/* Whole, its NUL included, or not at all. */
static void test_ceiling(void **state)
{
    (void)state;
    static const char whole[] = "/t/p?c=d&a=b";
    for (size_t ceiling = 1; ceiling <= sizeof(whole) + 1; ceiling++) {
        struct buf out;
        buf_init(&out, ceiling);
        int status = target_print(&out, "/t", "/p?c=d", "a=b", 3);
        assert_int_equal(status, ceiling < sizeof(whole) ? -EMSGSIZE : 0);
        buf_deinit(&out);
    }
}

static void test_bytes_of_a_query(void **state)
{
    (void)state;
    assert_true(target_query_valid("", 0));
    for (int byte = 0; byte < 256; byte++) {
        const char text[] = {'a', (char)byte, 'b'};
        bool valid = byte > ' ' && byte < 0x7f && byte != '#';
        assert_int_equal(target_query_valid(text, sizeof(text)), valid);
        assert_int_equal(target_query_valid(text, 2), valid);
        assert_true(target_query_valid(text, 1));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_form_need_not_end_in_nul),
        cmocka_unit_test(test_ceiling),
        cmocka_unit_test(test_bytes_of_a_query),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
