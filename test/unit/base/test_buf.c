/* Tests of base/buf: the ceiling holds, a failed call changes nothing, growth is not by the byte.
 */
#include "base/buf.h"

#include "unit.h"

#include <errno.h>

static void test_reserve_is_exact(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 1000);
    assert_int_equal(buf_reserve(&buf, 777), 0);
    assert_int_equal(buf.capacity, 777);
    assert_int_equal(buf.size, 0);
    memset(buf.data, 1, 777); /* a sanitizer would tell if it were less */
    const uint8_t *data = buf.data;
    assert_int_equal(buf_reserve(&buf, 100), 0);
    assert_ptr_equal(buf.data, data);
    assert_int_equal(buf.capacity, 777);
    assert_int_equal(buf_reserve(&buf, 1000), 0);
    assert_int_equal(buf.capacity, 1000);
    buf_deinit(&buf);
}

static void test_declared_length_is_never_moved(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 4096);
    assert_int_equal(buf_reserve(&buf, 3000), 0);
    const uint8_t *data = buf.data;
    for (size_t i = 0; i < 3000; i++) {
        uint8_t byte = (uint8_t)i;
        assert_int_equal(buf_append(&buf, &byte, 1), 0);
    }
    assert_ptr_equal(buf.data, data);
    assert_int_equal(buf.capacity, 3000);
    buf_deinit(&buf);
}

static void test_above_the_ceiling_nothing_changes(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 10);
    assert_int_equal(buf_reserve(&buf, 11), -EMSGSIZE);
    assert_null(buf.data);
    assert_int_equal(buf_append(&buf, "0123456789", 10), 0);
    assert_int_equal(buf.size, 10);
    assert_int_equal(buf_append(&buf, "x", 1), -EMSGSIZE);
    assert_int_equal(buf_append(&buf, "x", SIZE_MAX), -EMSGSIZE);
    assert_int_equal(buf_printf(&buf, "%s", "x"), -EMSGSIZE);
    assert_int_equal(buf_append(&buf, NULL, 0), 0);
    assert_int_equal(buf.size, 10);
    assert_memory_equal(buf.data, "0123456789", 10);
    buf_deinit(&buf);
}

static void test_without_a_ceiling_there_is_no_room(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 0);
    assert_int_equal(buf_reserve(&buf, 0), 0);
    assert_int_equal(buf_append(&buf, "", 0), 0);
    assert_int_equal(buf_append(&buf, "x", 1), -EMSGSIZE);
    assert_null(buf.data);
    buf_deinit(&buf);
}

static void test_growth_doubles_and_ends_at_the_ceiling(void **state)
{
    (void)state;
    struct buf buf;
    size_t moves = 0;
    size_t capacity = 0;
    buf_init(&buf, 100000);
    for (size_t i = 0; i < 100000; i++) {
        uint8_t byte = (uint8_t)(i * 7);
        assert_int_equal(buf_append(&buf, &byte, 1), 0);
        assert_true(buf.capacity <= buf.ceiling);
        moves += buf.capacity != capacity;
        capacity = buf.capacity;
    }
    assert_true(moves <= 12);
    for (size_t i = 0; i < 100000; i++) {
        assert_int_equal(buf.data[i], (uint8_t)(i * 7));
    }
    assert_int_equal(buf_append(&buf, "x", 1), -EMSGSIZE);
    buf_deinit(&buf);
}

static void test_growth_has_room_for_one_large_piece(void **state)
{
    (void)state;
    struct buf buf;
    char piece[5000];
    memset(piece, 'p', sizeof(piece));
    buf_init(&buf, SIZE_MAX);
    assert_int_equal(buf_append(&buf, "ab", 2), 0);
    assert_int_equal(buf_append(&buf, piece, sizeof(piece)), 0);
    assert_int_equal(buf.size, 5002);
    assert_memory_equal(buf.data, "abppp", 5);
    buf_deinit(&buf);
}

enum { TOLD_AND_UNCHANGED = 7 };

static void reserve_too_much(void *argument)
{
    struct buf *buf = argument;
    if (buf_reserve(buf, SIZE_MAX / 4) == -ENOMEM && buf->size == 2 && buf->capacity >= 2 &&
        memcmp(buf->data, "ab", 2) == 0) {
        _exit(TOLD_AND_UNCHANGED);
    }
}

static void test_no_memory_is_told(void **state)
{
    (void)state;
    char text[4096];
    struct buf buf;
    buf_init(&buf, SIZE_MAX);
    assert_int_equal(buf_append(&buf, "ab", 2), 0);
    int status = unit_run_child(reserve_too_much, &buf, text, sizeof(text));
    if (strstr(text, "Sanitizer") == NULL) { /* sanitizers end the program instead */
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), TOLD_AND_UNCHANGED);
    }
    buf_deinit(&buf);
}

static void test_printf_appends_text_without_terminator(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 11);
    assert_int_equal(buf_printf(&buf, "%s=%d", "one", 1), 0);
    assert_int_equal(buf_printf(&buf, "%s", ""), 0);
    assert_int_equal(buf_printf(&buf, "%c%s", ' ', "two!!"), 0); /* fills it to the last byte */
    assert_int_equal(buf.size, 11);
    assert_memory_equal(buf.data, "one=1 two!!", 11);
    buf_deinit(&buf);
}

static void test_printf_of_long_text(void **state)
{
    (void)state;
    struct buf buf;
    for (int width = 500; width < 530; width++) {
        buf_init(&buf, (size_t)width + 1);
        assert_int_equal(buf_printf(&buf, "%*d", width, 7), 0);
        assert_int_equal(buf.size, width);
        assert_int_equal(buf.data[width - 1], '7');
        assert_int_equal(buf.data[0], ' ');
        assert_int_equal(buf_printf(&buf, "%*d", width, 7), -EMSGSIZE);
        assert_int_equal(buf.size, width);
        assert_int_equal(buf_printf(&buf, "x"), 0);
        buf_deinit(&buf);
    }
}

static void test_deinit_leaves_it_ready(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 10);
    assert_int_equal(buf_append(&buf, "abc", 3), 0);
    buf_deinit(&buf);
    assert_null(buf.data);
    assert_int_equal(buf.size + buf.capacity + buf.ceiling, 0);
    buf_deinit(&buf);
    buf_init(&buf, 10);
    assert_int_equal(buf_append(&buf, "abc", 3), 0);
    buf_deinit(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reserve_is_exact),
        cmocka_unit_test(test_declared_length_is_never_moved),
        cmocka_unit_test(test_above_the_ceiling_nothing_changes),
        cmocka_unit_test(test_without_a_ceiling_there_is_no_room),
        cmocka_unit_test(test_growth_doubles_and_ends_at_the_ceiling),
        cmocka_unit_test(test_growth_has_room_for_one_large_piece),
        cmocka_unit_test(test_no_memory_is_told),
        cmocka_unit_test(test_printf_appends_text_without_terminator),
        cmocka_unit_test(test_printf_of_long_text),
        cmocka_unit_test(test_deinit_leaves_it_ready),
    };
    return cmocka_run_group_tests_name("base/buf", tests, NULL, NULL);
}
