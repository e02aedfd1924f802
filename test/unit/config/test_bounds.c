/* Tests of config/bounds: the sums, and that no setting or limit makes them wrap. */
#include "config/bounds.h"

#include "../base/unit.h"
#include "config/config.h"

#define MIB (1024U * 1024U)

static const struct config defaults = {.limits_decoded_bytes = 32U * MIB,
                                       .gateway_max_inflight = 4,
                                       .reads_max_inflight = 64,
                                       .reads_window_bytes = MIB / 4,
                                       .limits_connections = 2048};

/* All that flags allow. */
static const struct config largest = {.limits_decoded_bytes = 1024U * MIB,
                                      .gateway_max_inflight = 1024,
                                      .reads_max_inflight = 4096,
                                      .reads_window_bytes = 64U * MIB,
                                      .limits_connections = 1000000};

/* What ARCHITECTURE.md says of one worker and 300 MiB, a quarter of which is the budget. */
static void test_memory(void **state)
{
    (void)state;
    assert_int_equal(bounds_memory(&defaults, 1, 75U * MIB) / MIB, 226);
    uint64_t one = bounds_memory(&defaults, 1, 75U * MIB);
    uint64_t two = bounds_memory(&defaults, 2, 75U * MIB);
    assert_int_equal(two - one, one - 99U * MIB);
    assert_int_equal(bounds_memory(&largest, 64, 0) / MIB,
                     24 + 64 * (1024 + 320 + 262784) + 64 * (1000000 / 1024.0) * 34);
}

static void test_connections_as_many_as_set(void **state)
{
    (void)state;
    assert_int_equal(bounds_connections(&defaults, 1, UINT64_MAX), 2048);
    assert_int_equal(bounds_connections(&defaults, 4, 1024 * 1024), 2048);
    assert_int_equal(bounds_connections(&largest, 64, UINT64_MAX), 1000000);
}

struct given {
    uint64_t descriptors;
    size_t workers;
    uint64_t connections;
};

static void test_connections_leave_descriptors(void **state)
{
    (void)state;
    /* 32 of the program, and of each worker 8, 32 for own pages, 3 for each of 4 writes. */
    static const struct given givens[] = {
        {2324, 1, 2048}, {2323, 1, 2047}, {1024, 1, 748}, {1024, 2, 252}, {340, 1, 64},
        {339, 1, 63},    {88, 1, 1},      {84, 1, 1},     {0, 1, 1},
    };

    for (size_t i = 0; i < COUNT(givens); i++) {
        const struct given *given = &givens[i];
        assert_int_equal(bounds_connections(&defaults, given->workers, given->descriptors),
                         given->connections);
    }
    assert_int_equal(bounds_connections(&largest, 64, 1024), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_connections_as_many_as_set),
        cmocka_unit_test(test_connections_leave_descriptors),
    };
    return cmocka_run_group_tests_name("config/bounds", tests, NULL, NULL);
}
