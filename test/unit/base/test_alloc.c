/* Tests of base/alloc: copies are whole, and no memory means no program. */
#include "base/alloc.h"

#include "unit.h"

static void test_copy_ends_text_and_is_its_own(void **state)
{
    (void)state;
    char text[] = "abcdef";
    char *copy = alloc_copy(text, 3);
    text[0] = 'x';
    assert_string_equal(copy, "abc");
    free(copy);
}

static void test_copy_of_nothing_is_empty_text(void **state)
{
    (void)state;
    char *copy = alloc_copy("abc", 0);
    assert_string_equal(copy, "");
    free(copy);
}

static void test_copy_keeps_zero_bytes(void **state)
{
    (void)state;
    char *copy = alloc_copy("a\0b", 3);
    assert_memory_equal(copy, "a\0b", 4);
    free(copy);
}

static void test_zero_is_zeroed(void **state)
{
    (void)state;
    static const unsigned char zeros[4096];
    unsigned char *dirty = malloc(4096); /* likely to come back from the allocator */
    memset(dirty, 0xff, 4096);
    free(dirty);
    unsigned char *memory = alloc_zero(64, 64);
    assert_memory_equal(memory, zeros, 4096);
    free(memory);
}

static void test_zero_of_nothing_is_memory(void **state)
{
    (void)state;
    void *memory = alloc_zero(0, 8);
    assert_non_null(memory);
    free(memory);
    memory = alloc_zero(8, 0);
    assert_non_null(memory);
    free(memory);
}

static void allocate_too_much(void *argument)
{
    volatile size_t half = SIZE_MAX / 2;
    (void)argument;
    void *memory = alloc_zero(half, 4);
    free(memory);
}

static void test_no_memory_ends_the_program_with_a_message(void **state)
{
    (void)state;
    char text[4096];
    int status = unit_run_child(allocate_too_much, NULL, text, sizeof(text));
    assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    if (strstr(text, "Sanitizer") == NULL) { /* sanitizers end such a program in their own way */
        assert_true(WIFSIGNALED(status));
        assert_non_null(strstr(text, "out of memory"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copy_ends_text_and_is_its_own),
        cmocka_unit_test(test_copy_of_nothing_is_empty_text),
        cmocka_unit_test(test_copy_keeps_zero_bytes),
        cmocka_unit_test(test_zero_is_zeroed),
        cmocka_unit_test(test_zero_of_nothing_is_memory),
        cmocka_unit_test(test_no_memory_ends_the_program_with_a_message),
    };
    return cmocka_run_group_tests_name("base/alloc", tests, NULL, NULL);
}
