/* Group commit: what each sender hears of what the gateway says. */
#include "batcher_stage.h"

#define COUNTED(metric) atomic_load(&stage.metrics.counters[METRIC_##metric])

/* -- What a lone sender hears ----------------------------------------------------------------- */

static void send_lone(struct stage *stage, struct sender *sender)
{
    sender_add(stage, sender, 1);
    batcher_tick(stage->batcher, false);
    assert_int_equal(stage->upstream.count, 1);
}

static void test_a_refusal_is_relayed_to_a_lone_sender(void **state)
{
    (void)state;
    static const unsigned statuses[] = {400, 409, 413, 422};
    struct stage stage;
    struct sender sender;
    stage_open(&stage);
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        send_lone(&stage, &sender);
        fake_answer(&stage.upstream, 0, statuses[i], "out of order sample");
        assert_true(exchange_replied_text(&sender.exchange, "out of order sample"));
        expect_heard(&sender, statuses[i]);

        send_lone(&stage, &sender);
        fake_answer(&stage.upstream, 0, statuses[i],
                    ""); /* then the sender hears a reason of ours */
        assert_true(sender.exchange.reply.size > 0);
        expect_heard(&sender, statuses[i]);
    }
    assert_int_equal(COUNTED(BATCHES_4XX), 2 * 4);
    assert_int_equal(COUNTED(WRITE_REFUSED), 2 * 4);
    assert_int_equal(COUNTED(BATCHES_SPLIT), 0);
    stage_close(&stage);
}

static void test_trouble_of_the_gateway_is_503(void **state)
{
    (void)state;
    static const unsigned statuses[] = {408, 425, 429, 500, 502, 503, 504, 599};
    struct stage stage;
    struct sender sender;
    stage_open(&stage);
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        send_lone(&stage, &sender);
        fake_answer(&stage.upstream, 0, statuses[i], "try again");
        expect_heard(&sender, 503);
    }
    assert_int_equal(COUNTED(BATCHES_4XX), 3);
    assert_int_equal(COUNTED(BATCHES_5XX), 5);
    assert_int_equal(COUNTED(WRITE_UNAVAILABLE), 8);
    assert_int_equal(COUNTED(MISCONFIGURED), 0);
    stage_close(&stage);
}

static void test_no_answer_is_503(void **state)
{
    (void)state;

    static const enum outcome_kind kinds[] = {OUTCOME_UNREACHABLE, OUTCOME_BROKEN, OUTCOME_TIMEOUT,
                                              OUTCOME_CANCELLED};
    struct stage stage;
    struct sender sender;
    stage_open(&stage);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        /* Whatever status had come: it was not the end of the answer. */
        const struct outcome outcome = {.kind = kinds[i], .status = 200};
        send_lone(&stage, &sender);
        fake_end(&stage.upstream, 0, &outcome);
        expect_heard(&sender, 503);
    }
    assert_int_equal(COUNTED(BATCHES_FAILED), 4);
    assert_int_equal(COUNTED(WRITE_ACCEPTED), 0);
    stage_close(&stage);
}

/* The sender's data is not at fault, so it must not hear a 4xx, on which it would drop the data. */
static void test_our_own_misconfiguration_is_503(void **state)
{
    (void)state;
    static const unsigned statuses[] = {301, 302, 401, 403, 404, 405, 418};
    struct stage stage;
    struct sender sender;
    stage_open(&stage);
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        send_lone(&stage, &sender);
        fake_answer(&stage.upstream, 0, statuses[i], "no such tenant");
        expect_heard(&sender, 503);
        assert_int_equal(atomic_load(&stage.metrics.gauges[METRIC_GATEWAY_MISCONFIGURED]), 1);
    }
    assert_int_equal(COUNTED(MISCONFIGURED), 7);
    assert_int_equal(COUNTED(BATCHES_3XX), 2);
    send_lone(&stage, &sender);
    fake_answer(&stage.upstream, 0, 200, "");
    expect_heard(&sender, 204);
    assert_int_equal(atomic_load(&stage.metrics.gauges[METRIC_GATEWAY_MISCONFIGURED]), 0);
    stage_close(&stage);
}

static void test_retry_after_is_the_gateways_or_spread(void **state)
{
    (void)state;
    struct stage stage;
    struct sender sender;
    bool heard[6] = {false};
    stage_open(&stage);
    struct outcome outcome = {.kind = OUTCOME_ANSWERED, .status = 503, .retry_after_s = 42};
    send_lone(&stage, &sender);
    fake_end(&stage.upstream, 0, &outcome);
    assert_int_equal(exchange_retry_after_s(&sender.exchange), 42);
    expect_heard(&sender, 503);
    outcome.retry_after_s = 0;
    for (unsigned i = 0; i < 100; i++) {
        send_lone(&stage, &sender);
        fake_end(&stage.upstream, 0, &outcome);
        unsigned seconds = exchange_retry_after_s(&sender.exchange);
        assert_in_range(seconds, 1, 5);
        heard[seconds] = true;
        expect_heard(&sender, 503);
    }
    assert_true(heard[1] && heard[2] && heard[3] && heard[4] && heard[5]);
    stage_close(&stage);
}

/* -- What the senders of a batch hear --------------------------------------------------------- */

static void test_what_is_not_about_data_is_for_the_whole_batch(void **state)
{
    (void)state;

    static const struct {
        unsigned status;
        unsigned heard;
    } cases[] = {{200, 204}, {204, 204}, {429, 503}, {500, 503},
                 {401, 503}, {404, 503}, {302, 503}};

    struct stage stage;
    struct sender senders[5];
    stage_open(&stage);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        send_batch(&stage, senders, 5);
        fake_answer(&stage.upstream, 0, cases[i].status, "whatever");
        for (uint32_t j = 0; j < 5; j++) {
            expect_heard(&senders[j], cases[i].heard);
        }
        expect_idle(&stage);
    }
    assert_int_equal(COUNTED(BATCHES_SPLIT), 0);
    stage_close(&stage);
}

/* A gateway that refuses what holds a bad request: bit i of bad stands for request i. Answers until
 * nothing is in flight. accepted: ids in the order in which it took them. */
static size_t play_strict_gateway(struct stage *stage, uint64_t bad, uint32_t accepted[IDS_MAX])
{
    size_t count = 0;
    while (stage->upstream.count > 0) {
        uint32_t ids[IDS_MAX];
        char text[32];
        size_t members = ids_at(stage, 0, ids);
        bool refused = false;
        for (size_t i = 0; i < members; i++) {
            refused = refused || (bad >> ids[i] & 1) != 0;
        }
        assert_int_equal(stage->upstream.count, 1); /* one part after the other */
        for (size_t i = 0; i < members && !refused; i++) {
            accepted[count++] = ids[i];
        }
        (void)snprintf(text, sizeof(text), "refused %u", ids[0]);
        fake_answer(&stage->upstream, 0, refused ? 400 : 200, text);
    }
    return count;
}

static void expect_own_verdicts(struct sender senders[], uint32_t count, uint64_t bad)
{
    for (uint32_t i = 0; i < count; i++) {
        bool refused = (bad >> i & 1) != 0;
        if (refused) {
            char text[32];
            (void)snprintf(text, sizeof(text), "refused %u", i);
            assert_true(exchange_replied_text(&senders[i].exchange, text));
        }
        expect_heard(&senders[i], refused ? 400 : 204);
    }
}

/* Every batch of up to seven requests, with every set of bad ones among them. */
static void test_a_refused_batch_is_halved_until_each_hears_its_own(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= 7; count++) {
        for (uint64_t bad = 0; bad < UINT64_C(1) << count; bad++) {
            struct stage stage;
            struct sender senders[7];
            uint32_t accepted[IDS_MAX];
            stage_open(&stage);
            send_batch(&stage, senders, count);
            size_t taken = play_strict_gateway(&stage, bad, accepted);
            expect_own_verdicts(senders, count, bad);
            /* The gateway took the good ones, once each, in the order in which they came. */
            for (size_t i = 1; i < taken; i++) {
                assert_true(accepted[i] > accepted[i - 1]);
            }
            for (size_t i = 0; i < taken; i++) {
                assert_true((bad >> accepted[i] & 1) == 0);
            }
            stage_close(&stage);
        }
    }
}

/* One bad request costs its neighbours a number of sends that grows with the logarithm. */
static void test_one_bad_request_costs_few_sends(void **state)
{
    (void)state;
    for (uint32_t bad = 0; bad < 64; bad++) {
        struct stage stage;
        struct sender senders[64];
        uint32_t accepted[IDS_MAX];
        stage_open(&stage);
        send_batch(&stage, senders, 64);
        assert_int_equal(play_strict_gateway(&stage, UINT64_C(1) << bad, accepted), 63);
        expect_own_verdicts(senders, 64, UINT64_C(1) << bad);
        assert_int_equal(stage.upstream.sent, 1 + 2 * 6);
        assert_int_equal(COUNTED(BATCHES_SPLIT), 6);
        stage_close(&stage);
    }
}

static void test_a_gateway_that_fails_amid_a_split(void **state)
{
    (void)state;
    struct stage stage;
    struct sender senders[8];
    stage_open(&stage);
    send_batch(&stage, senders, 8);
    fake_answer(&stage.upstream, 0, 400, "");
    expect_sent(&stage, 0, 0, 3);
    fake_answer(&stage.upstream, 0, 400, "");
    expect_sent(&stage, 0, 0, 1);
    fake_answer(&stage.upstream, 0, 200, "");
    expect_sent(&stage, 0, 2, 3);
    fake_answer(&stage.upstream, 0, 503, "");
    /* The first two are stored; the rest was not tried and comes again. */
    for (uint32_t i = 0; i < 8; i++) {
        expect_heard(&senders[i], i < 2 ? 204 : 503);
    }
    assert_int_equal(stage.upstream.count, 0);
    stage_close(&stage);
}

static void test_a_misconfigured_gateway_amid_a_split(void **state)
{
    (void)state;
    struct stage stage;
    struct sender senders[4];
    stage_open(&stage);
    send_batch(&stage, senders, 4);
    fake_answer(&stage.upstream, 0, 422, "");
    fake_answer(&stage.upstream, 0, 200, "");
    fake_answer(&stage.upstream, 0, 403, "");
    for (uint32_t i = 0; i < 4; i++) {
        expect_heard(&senders[i], i < 2 ? 204 : 503);
    }
    stage_close(&stage);
}

static void test_a_batch_in_parts_holds_its_slot(void **state)
{
    (void)state;
    struct stage stage;
    struct sender senders[2];
    struct sender other;
    stage_open(&stage);
    send_batch(&stage, senders, 2);
    sender_add(&stage, &other, 9);
    fake_answer(&stage.upstream, 0, 400, "");
    batcher_tick(stage.batcher, false);
    assert_int_equal(stage.upstream.count, 1);
    fake_answer(&stage.upstream, 0, 200, "");
    batcher_tick(stage.batcher, false);
    assert_int_equal(stage.upstream.count, 1);
    fake_answer(&stage.upstream, 0, 200, "");
    batcher_tick(stage.batcher, false);
    expect_sent(&stage, 0, 9, 9);
    fake_answer(&stage.upstream, 0, 200, "");
    expect_heard(&senders[0], 204);
    expect_heard(&senders[1], 204);
    expect_heard(&other, 204);
    stage_close(&stage);
}

/* A gateway that refuses all there is must not be sent everything many times over. */
static void test_sending_again_has_a_budget(void **state)
{
    (void)state;
    struct stage stage;
    struct sender senders[64];
    uint32_t accepted[IDS_MAX];
    unsigned batches = 0;
    stage_open(&stage);
    unsigned deferred = 0;
    while (deferred == 0) {
        assert_true(++batches < 1000);
        send_batch(&stage, senders, 64);
        (void)play_strict_gateway(&stage, UINT64_MAX, accepted);
        for (uint32_t i = 0; i < 64; i++) {
            unsigned status = senders[i].exchange.status;
            deferred += status == 503;
            expect_heard(&senders[i], status == 400 ? 400 : 503);
        }
        expect_idle(&stage);
    }
    assert_true(COUNTED(RESENDS_DENIED) >= 1);
    unsigned long sent = stage.upstream.sent;

    /* It comes back with time. */
    fake_now_us += 3600 * SEC_US;
    send_batch(&stage, senders, 64);
    (void)play_strict_gateway(&stage, UINT64_MAX, accepted);
    expect_own_verdicts(senders, 64, UINT64_MAX);
    assert_int_equal(stage.upstream.sent - sent, 127);
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_refusal_is_relayed_to_a_lone_sender),
        cmocka_unit_test(test_trouble_of_the_gateway_is_503),
        cmocka_unit_test(test_no_answer_is_503),
        cmocka_unit_test(test_our_own_misconfiguration_is_503),
        cmocka_unit_test(test_retry_after_is_the_gateways_or_spread),
        cmocka_unit_test(test_what_is_not_about_data_is_for_the_whole_batch),
        cmocka_unit_test(test_a_refused_batch_is_halved_until_each_hears_its_own),
        cmocka_unit_test(test_one_bad_request_costs_few_sends),
        cmocka_unit_test(test_a_gateway_that_fails_amid_a_split),
        cmocka_unit_test(test_a_misconfigured_gateway_amid_a_split),
        cmocka_unit_test(test_a_batch_in_parts_holds_its_slot),
        cmocka_unit_test(test_sending_again_has_a_budget),
    };
    return cmocka_run_group_tests_name("flow/batcher verdicts", tests, NULL, NULL);
}
