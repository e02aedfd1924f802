/* Batches as bookkeeping: who is in them, what their body is, and into which parts they fall. */
#include "flow/batch.h"

#include "base/budget.h"
#include "config/config.h"
#include "flow/context.h"
#include "flow/request.h"

#include "block.h"
#include "fake_clock.h"
#include "fake_exchange.h"

#define MEMBERS_MAX 70

/* Requests that have no sender any more: a batch must not care. */
struct stage {
    struct config config;
    struct budget budget;
    struct flow_context context;
    uint64_t body_bytes;
};

static void stage_open(struct stage *stage)
{
    *stage = (struct stage){.config = {.limits_body_bytes = 100000}};
    budget_init(&stage->budget, 1000000);
    stage->context = (struct flow_context){.config = &stage->config, .budget = &stage->budget};
}

static struct request *make_request(struct stage *stage, uint32_t id, uint32_t bytes)
{
    struct exchange exchange = {.started_us = fake_now_us};
    struct request *request = request_new(&stage->context, &exchange, &stage->body_bytes);
    struct bytes content = {0};
    struct bytes block = {0};
    struct wire_error error;
    put_stamped(&content, id, bytes);
    put_snappy(&block, &content);
    assert_int_equal(buf_append(&request->body, block.data, block.size), 0);
    assert_int_equal(
        snappy_block_open(request->body.data, request->body.size, &request->block, &error), 0);
    assert_true(budget_take(&stage->budget, block.size));
    request->charge.bytes = block.size;
    request->exchange = NULL;
    bytes_free(&content);
    bytes_free(&block);
    return request;
}

static struct batch *make_batch(struct stage *stage, size_t members)
{
    struct batch *batch = batch_new(members > 0 ? members : 1, fake_now_us);
    assert_non_null(batch);
    for (size_t i = 0; i < members; i++) {
        batch_add(batch, make_request(stage, (uint32_t)i, 8 + (uint32_t)(i * 37 % 200)));
    }
    return batch;
}

static size_t body_of(struct batch *batch, uint32_t ids[MEMBERS_MAX])
{
    size_t count = 0;
    struct bytes body = {0};
    size_t bytes = batch_body(batch, &count);
    for (size_t i = 0; i < count; i++) {
        put(&body, batch->pieces[i].data, batch->pieces[i].bytes);
    }
    assert_int_equal(body.size, bytes);
    size_t members = read_stamps(&body, ids, MEMBERS_MAX);
    bytes_free(&body);
    return members;
}

/* The body of the part is that of the requests from first up to end. */
static void expect_part(struct batch *batch, size_t first, size_t end)
{
    uint32_t ids[MEMBERS_MAX];
    size_t members = body_of(batch, ids);
    assert_int_equal(members, end - first);
    for (size_t i = 0; i < members; i++) {
        assert_int_equal(ids[i], first + i);
    }
}

static void expect_sums(const struct batch *batch)
{
    size_t elements_bytes = 0;
    size_t decoded_bytes = 0;
    for (size_t i = 0; i < batch->count; i++) {
        elements_bytes += batch->members[i]->block.elements_bytes;
        decoded_bytes += batch->members[i]->block.decoded_bytes;
    }
    assert_int_equal(batch->elements_bytes, elements_bytes);
    assert_int_equal(batch->decoded_bytes, decoded_bytes);
}

static void test_members_know_their_batch(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    struct batch *batch = make_batch(&stage, 3);
    assert_int_equal(batch->count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_ptr_equal(batch->members[i]->batch, batch);
    }
    expect_sums(batch);
    assert_int_equal(batch->opened_us, fake_now_us);
    batch_free(batch);
    assert_int_equal(budget_used(&stage.budget), 0);
}

static void test_the_body_is_one_block_of_all(void **state)
{
    (void)state;
    for (size_t members = 1; members <= MEMBERS_MAX; members++) {
        struct stage stage;
        stage_open(&stage);
        struct batch *batch = make_batch(&stage, members);
        batch_begin(batch);
        expect_part(batch, 0, members);
        assert_false(batch_next_part(batch));
        batch_free(batch);
        assert_int_equal(budget_used(&stage.budget), 0);
    }
}

/* A request may be empty: its block has no elements, but is still one of the batch. */
static void test_empty_blocks_join_too(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    struct batch *batch = batch_new(3, fake_now_us);
    for (size_t i = 0; i < 3; i++) {
        static const uint8_t empty[] = {0};
        struct request *request = make_request(&stage, 7, 20);
        struct wire_error error;
        if (i != 1) {
            request->body.size = 0;
            assert_int_equal(buf_append(&request->body, empty, sizeof(empty)), 0);
            assert_int_equal(
                snappy_block_open(request->body.data, sizeof(empty), &request->block, &error), 0);
        }
        batch_add(batch, request);
    }
    batch_begin(batch);
    uint32_t ids[MEMBERS_MAX];
    assert_int_equal(body_of(batch, ids), 1);
    assert_int_equal(ids[0], 7);
    batch_free(batch);
}

static void test_remove_keeps_the_order_of_the_others(void **state)
{
    (void)state;

    enum { MEMBERS = 5 };

    for (size_t gone = 0; gone < MEMBERS; gone++) {
        struct stage stage;
        uint32_t ids[MEMBERS_MAX];
        stage_open(&stage);
        struct batch *batch = make_batch(&stage, MEMBERS);
        struct request *request = batch->members[gone];
        batch_remove(batch, request);
        assert_null(request->batch);
        request_free(request);
        expect_sums(batch);
        batch_begin(batch);
        assert_int_equal(body_of(batch, ids), MEMBERS - 1);
        for (size_t i = 0; i + 1 < MEMBERS; i++) {
            assert_int_equal(ids[i], i < gone ? i : i + 1);
        }
        batch_free(batch);
        assert_int_equal(budget_used(&stage.budget), 0);
    }
}

static void test_the_last_may_be_removed_and_others_added(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    struct batch *batch = make_batch(&stage, 1);
    struct request *request = batch->members[0];
    batch_remove(batch, request);
    assert_int_equal(batch->count, 0);
    assert_int_equal(batch->elements_bytes + batch->decoded_bytes, 0);
    batch_add(batch, request);
    expect_sums(batch);
    batch_begin(batch);
    expect_part(batch, 0, 1);
    batch_free(batch);
    assert_int_equal(budget_used(&stage.budget), 0);
}

static void test_an_empty_batch_is_freed(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    batch_free(make_batch(&stage, 0));
}

/* Halve every part down to single members: they come in order, each once, and each split leaves
 * two parts that differ by one at most. */
static void test_halves_come_in_order(void **state)
{
    (void)state;
    for (size_t members = 1; members <= MEMBERS_MAX; members++) {
        struct stage stage;
        stage_open(&stage);
        struct batch *batch = make_batch(&stage, members);
        size_t next = 0;
        bool more = true;
        batch_begin(batch);
        while (more) {
            while (batch->end - batch->first > 1) {
                size_t first = batch->first;
                size_t end = batch->end;
                batch_split(batch);
                assert_int_equal(batch->first, first);
                assert_in_range(batch->end, first + (end - first) / 2,
                                first + (end - first + 1) / 2);
            }
            expect_part(batch, next, next + 1);
            next++;
            more = batch_next_part(batch);
        }
        assert_int_equal(next, members);
        batch_free(batch);
        assert_int_equal(budget_used(&stage.budget), 0);
    }
}

/* Split or settle at random: whatever the order, the parts that are settled cover the members once,
 * from the first to the last. */
static void test_parts_cover_all_members_once(void **state)
{
    (void)state;
    struct rng rng = {.state = 5};
    for (unsigned round = 0; round < 500; round++) {
        struct stage stage;
        stage_open(&stage);
        size_t members = 1 + rng_below(&rng, MEMBERS_MAX);
        struct batch *batch = make_batch(&stage, members);
        size_t settled = 0;
        bool more = true;
        batch_begin(batch);
        while (more) {
            assert_int_equal(batch->first, settled);
            assert_true(batch->end > batch->first);
            if (rng_one_in(&rng, 20)) {
                batch_take_rest(batch);
                expect_part(batch, settled, members);
            }
            if (batch->end - batch->first > 1 && !rng_one_in(&rng, 3)) {
                batch_split(batch);
                continue;
            }
            expect_part(batch, settled, batch->end);
            settled = batch->end;
            more = batch_next_part(batch);
        }
        assert_int_equal(settled, members);
        batch_free(batch);
    }
}

static void test_as_many_splits_as_a_batch_can_need(void **state)
{
    (void)state;

    enum { MEMBERS = 4096 }; /* the most that the configuration allows */

    struct stage stage;
    stage_open(&stage);
    stage.budget.limit = SIZE_MAX;
    struct batch *batch = make_batch(&stage, MEMBERS);
    batch_begin(batch);
    while (batch->end - batch->first > 1) {
        batch_split(batch);
    }
    batch_take_rest(batch);
    assert_int_equal(batch->first, 0);
    assert_int_equal(batch->end, MEMBERS);
    assert_false(batch_next_part(batch));
    batch_free(batch);
    assert_int_equal(budget_used(&stage.budget), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_members_know_their_batch),
        cmocka_unit_test(test_the_body_is_one_block_of_all),
        cmocka_unit_test(test_empty_blocks_join_too),
        cmocka_unit_test(test_remove_keeps_the_order_of_the_others),
        cmocka_unit_test(test_the_last_may_be_removed_and_others_added),
        cmocka_unit_test(test_an_empty_batch_is_freed),
        cmocka_unit_test(test_halves_come_in_order),
        cmocka_unit_test(test_parts_cover_all_members_once),
        cmocka_unit_test(test_as_many_splits_as_a_batch_can_need),
    };
    return cmocka_run_group_tests_name("flow/batch", tests, NULL, NULL);
}
