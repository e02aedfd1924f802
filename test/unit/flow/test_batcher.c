/* Group commit: when batches leave, who travels with whom, and how waiting ends without a verdict.
 */
#include "batcher_stage.h"

#define COUNTED(metric) atomic_load(&stage.metrics.counters[METRIC_##metric])

/* -- When a batch leaves ---------------------------------------------------------------------- */

static void test_a_lone_request_leaves_at_once(void **state)
{
    (void)state;
    struct stage stage;
    struct sender sender;
    stage_open(&stage);
    assert_true(batcher_deadline_us(stage.batcher) == LOOP_NEVER);
    sender_add(&stage, &sender, 1);
    assert_int_equal(stage.upstream.count, 0); /* not from within the server's phase */
    assert_true(batcher_deadline_us(stage.batcher) <= fake_now_us);
    batcher_tick(stage.batcher, false);
    expect_sent(&stage, 0, 1, 1);
    assert_false(batcher_idle(stage.batcher));
    assert_true(batcher_deadline_us(stage.batcher) > fake_now_us);
    fake_now_us += 5000;
    fake_answer(&stage.upstream, 0, 200, "");
    expect_heard(&sender, 204);
    assert_int_equal(COUNTED(BATCHES_2XX), 1);
    assert_int_equal(atomic_load(&stage.metrics.histograms[METRIC_GATEWAY_SECONDS].sum), 5000);
    assert_int_equal(atomic_load(&stage.metrics.histograms[METRIC_BATCH_REQUESTS].sum), 1);
    stage_close(&stage);
}

/* What goes to the gateway of a lone request is what its sender sent. */
static void test_a_lone_request_is_not_changed(void **state)
{
    (void)state;
    struct stage stage;
    struct sender sender;
    stage_open(&stage);
    sender_make(&stage, &sender, 9, 5000);
    struct bytes sent = {0};
    put(&sent, sender.request->body.data, sender.request->body.size);
    batcher_add(stage.batcher, sender.request);
    batcher_tick(stage.batcher, false);
    assert_int_equal(stage.upstream.calls[0].body.size, sent.size);
    assert_memory_equal(stage.upstream.calls[0].body.data, sent.data, sent.size);
    assert_int_equal(COUNTED(SENT_BYTES), sent.size);
    bytes_free(&sent);
    fake_answer(&stage.upstream, 0, 202, "");
    expect_heard(&sender, 204);
    stage_close(&stage);
}

static void test_requests_join_while_the_gateway_is_busy(void **state)
{
    (void)state;
    struct stage stage;
    struct sender senders[6];
    stage_open(&stage);
    for (uint32_t i = 0; i < 6; i++) {
        sender_add(&stage, &senders[i], i);
        batcher_tick(stage.batcher, false);
        assert_int_equal(stage.upstream.count, 1);
    }
    expect_sent(&stage, 0, 0, 0);
    fake_answer(&stage.upstream, 0, 200, "");
    expect_heard(&senders[0], 204);
    for (uint32_t i = 1; i < 6; i++) {
        expect_waits(&senders[i]);
    }
    batcher_tick(stage.batcher, false);
    expect_sent(&stage, 0, 1, 5);
    fake_answer(&stage.upstream, 0, 204, "");
    for (uint32_t i = 1; i < 6; i++) {
        expect_heard(&senders[i], 204);
    }
    assert_int_equal(stage.upstream.sent, 2);
    stage_close(&stage);
}

/* Slots are free, but the worker has more to take in, which may join. */
static void test_company_is_waited_for_while_there_is_work(void **state)
{
    (void)state;
    struct stage stage;
    struct sender senders[4];
    stage_open(&stage);
    stage.config.gateway_max_inflight = 3;
    sender_add(&stage, &senders[0], 0);
    batcher_tick(stage.batcher, true); /* a lone request leaves at once all the same */
    expect_sent(&stage, 0, 0, 0);
    for (uint32_t i = 1; i < 3; i++) {
        sender_add(&stage, &senders[i], i);
        batcher_tick(stage.batcher, true);
        assert_int_equal(stage.upstream.count, 1);
        assert_true(batcher_deadline_us(stage.batcher) <= fake_now_us); /* nobody sleeps on it */
    }
    batcher_tick(stage.batcher, false);
    expect_sent(&stage, 1, 1, 2);

    sender_add(&stage, &senders[3], 3);
    batcher_tick(stage.batcher, true);
    assert_int_equal(stage.upstream.count, 2);
    fake_answer(&stage.upstream, 1, 200, "");
    fake_answer(&stage.upstream, 0, 200, "");
    batcher_tick(stage.batcher, true); /* behind none it need not wait */
    expect_sent(&stage, 0, 3, 3);
    fake_answer(&stage.upstream, 0, 200, "");
    for (uint32_t i = 0; i < 4; i++) {
        expect_heard(&senders[i], 204);
    }
    stage_close(&stage);
}

static void test_company_is_waited_for_a_moment_only(void **state)
{
    (void)state;
    struct stage stage;
    struct sender senders[3];
    stage_open(&stage);
    stage.config.gateway_max_inflight = 3;
    sender_add(&stage, &senders[0], 0);
    batcher_tick(stage.batcher, true);
    sender_add(&stage, &senders[1], 1);
    fake_now_us += 249;
    sender_add(&stage, &senders[2], 2); /* its age is that of its first request */
    batcher_tick(stage.batcher, true);
    assert_int_equal(stage.upstream.count, 1);
    fake_now_us += 1;
    batcher_tick(stage.batcher, true);
    expect_sent(&stage, 1, 1, 2);
    fake_answer(&stage.upstream, 1, 200, "");
    fake_answer(&stage.upstream, 0, 200, "");
    for (uint32_t i = 0; i < 3; i++) {
        expect_heard(&senders[i], 204);
    }
    stage_close(&stage);
}

static void test_as_many_writes_as_there_are_slots(void **state)
{
    (void)state;
    struct stage stage;
    struct sender senders[5];
    stage_open(&stage);
    stage.config.gateway_max_inflight = 3;
    for (uint32_t i = 0; i < 5; i++) {
        sender_add(&stage, &senders[i], i);
        batcher_tick(stage.batcher, false);
    }
    assert_int_equal(stage.upstream.count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        expect_sent(&stage, i, i, i);
    }
    /* Answers may come in any order. */
    fake_answer(&stage.upstream, 1, 200, "");
    expect_heard(&senders[1], 204);
    batcher_tick(stage.batcher, false);
    assert_int_equal(stage.upstream.count, 3);
    expect_sent(&stage, 2, 3, 4);
    fake_answer(&stage.upstream, 2, 200, "");
    fake_answer(&stage.upstream, 1, 200, "");
    fake_answer(&stage.upstream, 0, 200, "");
    expect_heard(&senders[0], 204);
    expect_heard(&senders[2], 204);
    expect_heard(&senders[3], 204);
    expect_heard(&senders[4], 204);
    stage_close(&stage);
}

static void test_a_linger_holds_back_what_is_not_full(void **state)
{
    (void)state;
    struct stage stage;
    struct sender senders[4];
    stage_open(&stage);
    stage.config.batch_linger_us = 10000;
    stage.config.batch_max_requests = 3;
    sender_add(&stage, &senders[0], 0);
    batcher_tick(stage.batcher, false);
    assert_int_equal(stage.upstream.count, 0);
    uint64_t leaves_us = fake_now_us + 10000;
    assert_true(batcher_deadline_us(stage.batcher) == leaves_us);
    fake_now_us += 9999;
    sender_add(&stage, &senders[1], 1); /* its age is that of its first request */
    batcher_tick(stage.batcher, false);
    assert_int_equal(stage.upstream.count, 0);
    assert_true(batcher_deadline_us(stage.batcher) == leaves_us);
    fake_now_us = leaves_us;
    batcher_tick(stage.batcher, false);
    expect_sent(&stage, 0, 0, 1);
    fake_answer(&stage.upstream, 0, 200, "");
    expect_heard(&senders[0], 204);
    expect_heard(&senders[1], 204);

    for (uint32_t i = 0; i < 3; i++) {
        sender_add(&stage, &senders[i], i);
    }
    batcher_tick(stage.batcher, false); /* full: no need to wait */
    expect_sent(&stage, 0, 0, 2);
    fake_answer(&stage.upstream, 0, 200, "");
    for (uint32_t i = 0; i < 3; i++) {
        expect_heard(&senders[i], 204);
    }
    stage_close(&stage);
}

/* A write may end after the tick of a turn, while new calls go out: the next batch must not wait
 * for some other event. */
static void test_a_freed_slot_makes_a_tick_due(void **state)
{
    (void)state;
    struct stage stage;
    struct sender senders[2];
    stage_open(&stage);
    sender_add_alone(&stage, &senders[0], 0);
    sender_add_alone(&stage, &senders[1], 1);
    batcher_tick(stage.batcher, false);
    fake_answer(&stage.upstream, 0, 200, "");
    expect_heard(&senders[0], 204);
    assert_true(batcher_deadline_us(stage.batcher) <= fake_now_us);
    batcher_tick(stage.batcher, false);
    fake_answer(&stage.upstream, 0, 200, "");
    expect_heard(&senders[1], 204);
    stage_close(&stage);
}

/* -- Who travels with whom -------------------------------------------------------------------- */

/* Send ten requests while the gateway is busy; they must leave in batches of three. */
static void expect_batches_of_three(struct stage *stage, uint32_t content_bytes)
{
    struct sender first;
    struct sender senders[10];
    sender_add(stage, &first, 99);
    batcher_tick(stage->batcher, false);
    for (uint32_t i = 0; i < 10; i++) {
        sender_make(stage, &senders[i], i, content_bytes);
        batcher_add(stage->batcher, senders[i].request);
    }
    batcher_tick(stage->batcher, false);
    expect_sent(stage, 0, 99, 99);
    fake_answer(&stage->upstream, 0, 200, "");
    expect_heard(&first, 204);
    for (uint32_t i = 0; i < 10; i += 3) {
        uint32_t last = i + 2 < 10 ? i + 2 : 9;
        batcher_tick(stage->batcher, false);
        assert_int_equal(stage->upstream.count, 1);
        expect_sent(stage, 0, i, last);
        fake_answer(&stage->upstream, 0, 200, "");
        for (uint32_t j = i; j <= last; j++) {
            expect_heard(&senders[j], 204);
        }
    }
}

static void test_a_batch_is_full_at_its_members(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    stage.config.batch_max_requests = 3;
    expect_batches_of_three(&stage, CONTENT_BYTES);
    stage_close(&stage);
}

static void test_a_batch_is_full_at_its_bytes(void **state)
{
    (void)state;
    struct stage stage;
    struct sender probe;
    stage_open(&stage);
    sender_make(&stage, &probe, 0, 1000);
    stage.config.batch_max_bytes = 3 * probe.request->block.elements_bytes + 8;
    batcher_add(stage.batcher, probe.request);
    batcher_tick(stage.batcher, false);
    fake_answer(&stage.upstream, 0, 200, "");
    expect_heard(&probe, 204);
    expect_batches_of_three(&stage, 1000);
    stage_close(&stage);
}

static void test_a_batch_is_full_at_its_decoded_bytes(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    stage.config.batch_max_decoded_bytes = 3000;
    expect_batches_of_three(&stage, 1000);
    stage_close(&stage);
}

static void test_a_request_beyond_the_limits_travels_alone(void **state)
{
    (void)state;
    struct stage stage;
    struct sender senders[3];
    stage_open(&stage);
    stage.config.batch_max_bytes = 500;
    stage.config.batch_max_decoded_bytes = 500;
    for (uint32_t i = 0; i < 3; i++) {
        sender_make(&stage, &senders[i], i, i == 1 ? 5000 : 100);
        batcher_add(stage.batcher, senders[i].request);
    }
    for (uint32_t i = 0; i < 3; i++) {
        batcher_tick(stage.batcher, false);
        expect_sent(&stage, 0, i, i);
        fake_answer(&stage.upstream, 0, 200, "");
        expect_heard(&senders[i], 204);
    }
    stage_close(&stage);
}

static void test_one_joins_none_where_a_batch_has_one_member(void **state)
{
    (void)state;
    struct stage stage;
    struct sender senders[3];
    stage_open(&stage);
    stage.config.batch_max_requests = 1;
    for (uint32_t i = 0; i < 3; i++) {
        sender_add(&stage, &senders[i], i);
    }
    for (uint32_t i = 0; i < 3; i++) {
        batcher_tick(stage.batcher, false);
        expect_sent(&stage, 0, i, i);
        fake_answer(&stage.upstream, 0, 200, "");
        expect_heard(&senders[i], 204);
    }
    stage_close(&stage);
}

/* In which of the writes so far, settled one after the other, each of count requests travelled. */
static void settle_all(struct stage *stage, size_t count, unsigned writes[])
{
    size_t settled = 0;
    for (unsigned write = 0; settled < count; write++) {
        uint32_t ids[IDS_MAX];
        batcher_tick(stage->batcher, false);
        size_t members = ids_at(stage, 0, ids);
        for (size_t i = 0; i < members; i++) {
            writes[ids[i]] = write;
        }
        settled += members;
        fake_answer(&stage->upstream, 0, 200, "");
    }
}

static void test_what_may_not_be_joined_travels_alone(void **state)
{
    (void)state;
    struct stage stage;
    struct sender senders[6];
    unsigned writes[6];
    stage_open(&stage);
    for (uint32_t i = 0; i < 6; i++) {
        if (i == 1 || i == 4) {
            sender_add_alone(&stage, &senders[i], i);
        } else {
            sender_add(&stage, &senders[i], i);
        }
    }
    settle_all(&stage, 6, writes);
    for (uint32_t i = 0; i < 6; i++) {
        expect_heard(&senders[i], 204);
    }
    assert_int_equal(stage.upstream.sent, 3);
    assert_int_equal(writes[0], writes[2]);
    assert_int_equal(writes[0], writes[3]);
    assert_int_equal(writes[0], writes[5]);
    assert_int_not_equal(writes[1], writes[0]);
    assert_int_not_equal(writes[4], writes[0]);
    assert_int_not_equal(writes[1], writes[4]);
    stage_close(&stage);
}

/* For a while a sender whose request was refused joins nobody, so that its next one, as bad, makes
 * no batch fall apart. */
static void test_a_sender_once_refused_travels_alone_for_a_while(void **state)
{
    (void)state;
    struct stage stage;
    struct sender senders[4];
    unsigned writes[4];
    stage_open(&stage);
    sender_add(&stage, &senders[0], 0);
    batcher_tick(stage.batcher, false);
    fake_answer(&stage.upstream, 0, 400, "bad\n");
    uint64_t mark_us = senders[0].exchange.sender_mark_us;
    expect_heard(&senders[0], 400);
    assert_true(mark_us > fake_now_us);

    for (unsigned later = 0; later < 2; later++) {
        for (uint32_t i = 0; i < 4; i++) {
            sender_make(&stage, &senders[i], i, CONTENT_BYTES);
            senders[i].exchange.sender_mark_us = i == 2 ? mark_us : 0;
            batcher_add(stage.batcher, senders[i].request);
        }
        settle_all(&stage, 4, writes);
        assert_int_equal(writes[0], writes[1]);
        assert_int_equal(writes[0], writes[3]);
        assert_true((writes[2] == writes[0]) == (later == 1));
        for (uint32_t i = 0; i < 4; i++) {
            expect_heard(&senders[i], 204);
        }
        fake_now_us = mark_us;
    }
    stage_close(&stage);
}

/* -- Deadlines -------------------------------------------------------------------------------- */

static uint64_t deadline_of(const struct sender *sender)
{
    return sender->request->deadline_us;
}

static void test_an_overdue_sender_is_answered_and_its_request_not_sent(void **state)
{
    (void)state;
    struct stage stage;
    struct sender first;
    struct sender senders[3];
    stage_open(&stage);
    sender_add(&stage, &first, 9);
    batcher_tick(stage.batcher, false);
    fake_now_us += SEC_US;
    sender_add(&stage, &senders[0], 0);
    uint64_t deadline_us = deadline_of(&senders[0]);
    fake_now_us += SEC_US;
    sender_add(&stage, &senders[1], 1);
    sender_add(&stage, &senders[2], 2);
    assert_true(batcher_deadline_us(stage.batcher) == deadline_of(&first));

    fake_now_us = deadline_us;
    batcher_tick(stage.batcher, false);
    expect_heard(&first, 503);
    expect_heard(&senders[0], 503);
    expect_waits(&senders[1]);
    assert_int_equal(COUNTED(REJECTED_DEADLINE), 2);
    assert_true(batcher_deadline_us(stage.batcher) == deadline_of(&senders[1]));

    /* What is at the gateway goes on. Its verdict comes too late to be heard. */
    fake_answer(&stage.upstream, 0, 200, "");
    batcher_tick(stage.batcher, false);
    expect_sent(&stage, 0, 1, 2);
    fake_answer(&stage.upstream, 0, 200, "");
    expect_heard(&senders[1], 204);
    expect_heard(&senders[2], 204);
    stage_close(&stage);
}

/* Senders come in the order of their deadlines, but for those whose bodies were slow. */
static void test_the_earliest_deadline_counts(void **state)
{
    (void)state;
    static const uint64_t ages_us[] = {3, 7, 1, 9, 5};
    struct stage stage;
    struct sender senders[5];
    stage_open(&stage);
    for (uint32_t i = 0; i < 5; i++) {
        sender_make(&stage, &senders[i], i, CONTENT_BYTES);
        senders[i].request->deadline_us -= ages_us[i] * SEC_US;
        batcher_add(stage.batcher, senders[i].request);
    }
    batcher_tick(stage.batcher, false);
    static const uint32_t order[] = {3, 1, 4, 0, 2};
    for (size_t i = 0; i < 5; i++) {
        struct sender *next = &senders[order[i]];
        assert_true(batcher_deadline_us(stage.batcher) == deadline_of(next));
        fake_now_us = deadline_of(next);
        batcher_tick(stage.batcher, false);
        expect_heard(next, 503);
    }
    fake_answer(&stage.upstream, 0, 200, "");
    stage_close(&stage);
}

/* Requests that travel alone make a queue of batches; each place of it may become empty. */
static void test_an_empty_batch_leaves_the_queue_whole(void **state)
{
    (void)state;

    enum { QUEUED = 4 };

    for (unsigned overdue = 0; overdue < 1U << QUEUED; overdue++) {
        struct stage stage;
        struct sender first;
        struct sender senders[QUEUED];
        struct sender later;
        stage_open(&stage);
        sender_add(&stage, &first, 9);
        batcher_tick(stage.batcher, false);
        fake_now_us += SEC_US;
        for (uint32_t i = 0; i < QUEUED; i++) {
            sender_make(&stage, &senders[i], i, CONTENT_BYTES);
            senders[i].request->counts.joinable = false;
            if ((overdue >> i & 1) != 0) {
                senders[i].request->deadline_us = fake_now_us + 1;
            }
            batcher_add(stage.batcher, senders[i].request);
        }
        fake_now_us += 1;
        batcher_tick(stage.batcher, false);
        sender_add_alone(&stage, &later, QUEUED); /* the end of the queue is found again */
        fake_answer(&stage.upstream, 0, 200, "");
        expect_heard(&first, 204);
        for (uint32_t i = 0; i < QUEUED; i++) {
            if ((overdue >> i & 1) != 0) {
                expect_heard(&senders[i], 503);
                continue;
            }
            batcher_tick(stage.batcher, false);
            expect_sent(&stage, 0, i, i);
            fake_answer(&stage.upstream, 0, 200, "");
            expect_heard(&senders[i], 204);
        }
        batcher_tick(stage.batcher, false);
        expect_sent(&stage, 0, QUEUED, QUEUED);
        fake_answer(&stage.upstream, 0, 200, "");
        expect_heard(&later, 204);
        stage_close(&stage);
    }
}

static void test_an_open_batch_that_becomes_empty_is_opened_anew(void **state)
{
    (void)state;
    struct stage stage;
    struct sender first;
    struct sender overdue;
    struct sender next;
    stage_open(&stage);
    sender_add(&stage, &first, 9);
    batcher_tick(stage.batcher, false);
    sender_make(&stage, &overdue, 1, CONTENT_BYTES);
    overdue.request->deadline_us = fake_now_us + 1;
    batcher_add(stage.batcher, overdue.request);
    fake_now_us += 1;
    batcher_tick(stage.batcher, false);
    expect_heard(&overdue, 503);
    sender_add(&stage, &next, 2);
    fake_answer(&stage.upstream, 0, 200, "");
    expect_heard(&first, 204);
    batcher_tick(stage.batcher, false);
    expect_sent(&stage, 0, 2, 2);
    fake_answer(&stage.upstream, 0, 200, "");
    expect_heard(&next, 204);
    stage_close(&stage);
}

static void test_an_overdue_sender_amid_a_split(void **state)
{
    (void)state;
    struct stage stage;
    struct sender senders[4];
    stage_open(&stage);
    send_batch(&stage, senders, 4);
    fake_answer(&stage.upstream, 0, 400, "");
    expect_sent(&stage, 0, 0, 1);
    fake_now_us = deadline_of(&senders[0]);
    batcher_tick(stage.batcher, false);
    for (uint32_t i = 0; i < 4; i++) {
        expect_heard(&senders[i], 503);
    }
    /* The parts still find their end, with nobody to tell. */
    while (stage.upstream.count > 0) {
        fake_answer(&stage.upstream, 0, 400, "");
    }
    stage_close(&stage);
}

/* -- Senders that leave ----------------------------------------------------------------------- */

static void test_a_sender_gone_before_it_joined(void **state)
{
    (void)state;
    struct stage stage;
    struct sender sender;
    stage_open(&stage);
    sender_make(&stage, &sender, 1, CONTENT_BYTES);
    sender_leave(&stage, &sender);
    expect_idle(&stage);
    assert_int_equal(sender.exchange.replies, 0);
    stage_close(&stage);
}

/* The others are not disturbed, whether it leaves before its batch does or after. */
static void test_a_sender_gone_after_it_joined(void **state)
{
    (void)state;
    for (unsigned sent = 0; sent < 2; sent++) {
        for (uint32_t gone = 0; gone < 3; gone++) {
            struct stage stage;
            struct sender senders[3];
            stage_open(&stage);
            for (uint32_t i = 0; i < 3; i++) {
                sender_add(&stage, &senders[i], i);
            }
            if (sent == 0) {
                sender_leave(&stage, &senders[gone]);
            }
            batcher_tick(stage.batcher, false);
            expect_sent(&stage, 0, 0, 2);
            if (sent == 1) {
                sender_leave(&stage, &senders[gone]);
            }
            fake_answer(&stage.upstream, 0, 200, "");
            for (uint32_t i = 0; i < 3; i++) {
                if (i != gone) {
                    expect_heard(&senders[i], 204);
                }
            }
            assert_int_equal(senders[gone].exchange.replies, 0);
            stage_close(&stage);
        }
    }
}

static void test_all_senders_gone(void **state)
{
    (void)state;
    static const unsigned statuses[] = {200, 400, 404, 503};
    struct stage stage;
    struct sender senders[3];
    stage_open(&stage);
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        send_batch(&stage, senders, 3);
        for (uint32_t j = 0; j < 3; j++) {
            sender_leave(&stage, &senders[j]);
        }
        assert_true(batcher_deadline_us(stage.batcher) == LOOP_NEVER);
        while (stage.upstream.count > 0) {
            fake_answer(&stage.upstream, 0, statuses[i], "");
        }
        expect_idle(&stage);
    }
    stage_close(&stage);
}

/* -- The end ---------------------------------------------------------------------------------- */

static void test_cancel_answers_all(void **state)
{
    (void)state;
    struct stage stage;
    struct sender senders[9];
    stage_open(&stage);
    stage.config.gateway_max_inflight = 2;
    for (uint32_t i = 0; i < 9; i++) {
        if (i < 6) {
            sender_add_alone(&stage, &senders[i], i); /* two at the gateway, four in the queue */
        } else {
            sender_add(&stage, &senders[i], i); /* three in the open batch */
        }
    }
    batcher_tick(stage.batcher, false);
    assert_int_equal(stage.upstream.count, 2);
    unsigned long sent = stage.upstream.sent;
    batcher_cancel(stage.batcher);
    for (uint32_t i = 0; i < 9; i++) {
        expect_heard(&senders[i], 503);
    }
    expect_idle(&stage);

    /* A request that comes even later hears the same, and nothing is sent. */
    sender_add(&stage, &senders[0], 0);
    batcher_tick(stage.batcher, false);
    expect_heard(&senders[0], 503);
    assert_int_equal(stage.upstream.sent, sent);
    stage_close(&stage);
}

static void test_cancel_does_not_wait_for_a_linger(void **state)
{
    (void)state;
    struct stage stage;
    struct sender sender;
    stage_open(&stage);
    stage.config.batch_linger_us = 3600 * SEC_US;
    sender_add(&stage, &sender, 1);
    batcher_cancel(stage.batcher);
    expect_heard(&sender, 503);
    stage_close(&stage);
}

/* A body that was under way comes whole after the grace period. */
static void test_what_comes_after_the_cancel_does_not_wait_for_a_linger(void **state)
{
    (void)state;
    struct stage stage;
    struct sender sender;
    stage_open(&stage);
    stage.config.batch_linger_us = 3600 * SEC_US;
    batcher_cancel(stage.batcher);
    sender_add(&stage, &sender, 1);
    assert_true(batcher_deadline_us(stage.batcher) <= clock_now_us());
    batcher_tick(stage.batcher, false);
    expect_heard(&sender, 503);
    stage_close(&stage);
}

static void test_cancel_amid_a_split(void **state)
{
    (void)state;
    struct stage stage;
    struct sender senders[4];
    stage_open(&stage);
    send_batch(&stage, senders, 4);
    fake_answer(&stage.upstream, 0, 400, "");
    fake_answer(&stage.upstream, 0, 200, "");
    batcher_cancel(stage.batcher);
    for (uint32_t i = 0; i < 4; i++) {
        expect_heard(&senders[i], i < 2 ? 204 : 503);
    }
    stage_close(&stage);
}

static void test_free_takes_nothing(void **state)
{
    (void)state;
    batcher_free(NULL);
}

/* -- Memory ----------------------------------------------------------------------------------- */

static void test_a_write_that_cannot_be_made_is_503(void **state)
{
    (void)state;
    struct stage stage;
    struct sender senders[6];
    stage_open(&stage);
    stage.upstream.without_memory = true;
    for (uint32_t i = 0; i < 3; i++) {
        sender_add(&stage, &senders[i], i);
    }
    batcher_tick(stage.batcher, false);
    for (uint32_t i = 0; i < 3; i++) {
        expect_heard(&senders[i], 503);
    }
    expect_idle(&stage);

    /* Its slot is free again; and the same amid a split. */
    stage.upstream.without_memory = false;
    send_batch(&stage, senders, 6);
    stage.upstream.without_memory = true;
    fake_answer(&stage.upstream, 0, 400, "");
    for (uint32_t i = 0; i < 6; i++) {
        expect_heard(&senders[i], 503);
    }
    stage_close(&stage);
}

static void test_bytes_are_held_until_the_batch_is_settled(void **state)
{
    (void)state;
    struct stage stage;
    struct sender senders[4];
    stage_open(&stage);
    send_batch(&stage, senders, 4);
    size_t held = budget_used(&stage.budget);
    assert_true(held > 0);
    fake_now_us = deadline_of(&senders[0]);
    batcher_tick(stage.batcher, false);
    for (uint32_t i = 0; i < 4; i++) {
        expect_heard(&senders[i], 503);
    }
    /* The senders are gone, but their bytes are on their way to the gateway. */
    assert_int_equal(budget_used(&stage.budget), held);
    fake_answer(&stage.upstream, 0, 200, "");
    assert_int_equal(budget_used(&stage.budget), 0);
    stage_close(&stage);
}

/* Who finds no room comes again about when there will be some. */
static void test_retry_after_follows_the_rate_of_answers(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    for (unsigned i = 0; i < 20; i++) {
        assert_in_range(batcher_retry_after_s(stage.batcher, 0), 1, 32);
        assert_in_range(batcher_retry_after_s(stage.batcher, SIZE_MAX), 1, 32);
    }
    /* One request of some 3,000 bytes a second. */
    size_t body_bytes = 0;
    for (unsigned i = 0; i < 20; i++) {
        struct sender sender;
        sender_make(&stage, &sender, 200 + i, 6000);
        body_bytes = sender.request->body.size;
        batcher_add(stage.batcher, sender.request);
        batcher_tick(stage.batcher, false);
        fake_answer(&stage.upstream, 0, 200, "");
        expect_heard(&sender, 204);
        fake_now_us += SEC_US;
        batcher_tick(stage.batcher, false);
    }
    for (unsigned i = 0; i < 20; i++) {
        assert_in_range(batcher_retry_after_s(stage.batcher, 0), 1, 4);
        assert_in_range(batcher_retry_after_s(stage.batcher, 10 * body_bytes), 9, 15);
        assert_in_range(batcher_retry_after_s(stage.batcher, 1000 * body_bytes), 30, 32);
    }
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_lone_request_leaves_at_once),
        cmocka_unit_test(test_a_lone_request_is_not_changed),
        cmocka_unit_test(test_requests_join_while_the_gateway_is_busy),
        cmocka_unit_test(test_company_is_waited_for_while_there_is_work),
        cmocka_unit_test(test_company_is_waited_for_a_moment_only),
        cmocka_unit_test(test_as_many_writes_as_there_are_slots),
        cmocka_unit_test(test_a_freed_slot_makes_a_tick_due),
        cmocka_unit_test(test_a_linger_holds_back_what_is_not_full),
        cmocka_unit_test(test_a_batch_is_full_at_its_members),
        cmocka_unit_test(test_a_batch_is_full_at_its_bytes),
        cmocka_unit_test(test_a_batch_is_full_at_its_decoded_bytes),
        cmocka_unit_test(test_a_request_beyond_the_limits_travels_alone),
        cmocka_unit_test(test_one_joins_none_where_a_batch_has_one_member),
        cmocka_unit_test(test_what_may_not_be_joined_travels_alone),
        cmocka_unit_test(test_a_sender_once_refused_travels_alone_for_a_while),
        cmocka_unit_test(test_an_overdue_sender_is_answered_and_its_request_not_sent),
        cmocka_unit_test(test_the_earliest_deadline_counts),
        cmocka_unit_test(test_an_empty_batch_leaves_the_queue_whole),
        cmocka_unit_test(test_an_open_batch_that_becomes_empty_is_opened_anew),
        cmocka_unit_test(test_an_overdue_sender_amid_a_split),
        cmocka_unit_test(test_a_sender_gone_before_it_joined),
        cmocka_unit_test(test_a_sender_gone_after_it_joined),
        cmocka_unit_test(test_all_senders_gone),
        cmocka_unit_test(test_cancel_answers_all),
        cmocka_unit_test(test_cancel_does_not_wait_for_a_linger),
        cmocka_unit_test(test_what_comes_after_the_cancel_does_not_wait_for_a_linger),
        cmocka_unit_test(test_cancel_amid_a_split),
        cmocka_unit_test(test_free_takes_nothing),
        cmocka_unit_test(test_a_write_that_cannot_be_made_is_503),
        cmocka_unit_test(test_bytes_are_held_until_the_batch_is_settled),
        cmocka_unit_test(test_retry_after_follows_the_rate_of_answers),
    };
    return cmocka_run_group_tests_name("flow/batcher", tests, NULL, NULL);
}
