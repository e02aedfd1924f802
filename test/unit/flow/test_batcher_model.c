/* Group commit as a property: whatever comes in whatever order, each sender hears exactly one
 * answer, and a 2xx only of what the gateway has said 2xx to. Deterministic by seed. */
#include "batcher_stage.h"

#define ACTORS_MAX  4000
#define STEPS       10000
#define SEEDS       20
#define REFUSED_TXT "refused"

enum life { LIFE_UNMADE, LIFE_WAITS, LIFE_ANSWERED, LIFE_LEFT };

/* A sender and what the model knows of its request. Its place in the list is its id. */
struct actor {
    struct sender sender;
    enum life life;
    bool alone; /* may not be joined with others */
    bool bad;   /* the gateway refuses what holds it */
    bool sent;  /* at least once */
    bool here;  /* at the gateway now */
    bool done;  /* never to be sent again: stored, refused for good, or dropped unsent */
    uint64_t deadline_us;
    size_t elements_bytes;
    size_t decoded_bytes;
};

/* What came to pass, over all seeds: a run in which something never happens proves little of it. */
struct tally {
    unsigned long accepted, refused, deferred, left, overdue, joined, split;
};

struct world {
    struct stage stage;
    struct rng rng;
    struct actor *actors;
    uint32_t count;
    uint32_t first; /* all before it wait no more */
    struct tally *tally;
};

/* -- What may be ------------------------------------------------------------------------------ */

/* Senders that heard something since the last look. allowed(status): may this one hear that now? */
static void look(struct world *world, bool (*allowed)(const struct actor *actor, void *arg),
                 void *arg)
{
    for (uint32_t id = world->first; id < world->count; id++) {
        struct actor *actor = &world->actors[id];
        struct exchange *exchange = &actor->sender.exchange;
        if (actor->life != LIFE_WAITS || exchange->replies == 0) {
            continue;
        }
        assert_int_equal(exchange->replies, 1);
        assert_null(exchange->state);
        assert_true(allowed(actor, arg));
        if (exchange->status == 503) {
            assert_in_range(exchange_retry_after_s(exchange), 1, 300);
        }
        world->tally->accepted += exchange->status == 204;
        world->tally->refused += exchange->status == 400;
        world->tally->deferred += exchange->status == 503;
        actor->life = LIFE_ANSWERED;
        actor->done = actor->done || !actor->sent;
        bytes_free(&exchange->reply);
    }
    while (world->first < world->count && world->actors[world->first].life != LIFE_WAITS) {
        world->first++;
    }
}

static bool hears_503(const struct actor *actor, void *arg)
{
    (void)arg;
    return actor->sender.exchange.status == 503;
}

static bool hears_nothing(const struct actor *actor, void *arg)
{
    (void)actor;
    (void)arg;
    return false;
}

static bool hears_503_when_overdue(const struct actor *actor, void *arg)
{
    struct world *world = arg;
    bool overdue = actor->deadline_us <= fake_now_us;
    world->tally->overdue += overdue;
    return actor->sender.exchange.status == 503 &&
           (overdue || world->stage.upstream.without_memory);
}

/* An answer of the gateway, and the requests that it spoke of. */
struct spoken {
    struct world *world;
    struct outcome outcome;
    uint32_t ids[IDS_MAX];
    size_t count;
};

static bool spoke_of(const struct spoken *spoken, const struct actor *actor)
{
    for (size_t i = 0; i < spoken->count; i++) {
        if (&spoken->world->actors[spoken->ids[i]] == actor) {
            return true;
        }
    }
    return false;
}

static bool is_2xx(const struct outcome *outcome)
{
    return outcome->kind == OUTCOME_ANSWERED && outcome->status / 100 == 2;
}

/* The heart of it. */
static bool hears_what_was_said(const struct actor *actor, void *arg)
{
    const struct spoken *spoken = arg;
    const struct exchange *exchange = &actor->sender.exchange;
    switch (exchange->status) {
    case 204:
        return spoke_of(spoken, actor) && is_2xx(&spoken->outcome);
    case 400:
        return spoke_of(spoken, actor) && spoken->count == 1 && spoken->outcome.status == 400 &&
               exchange_replied_text(exchange, REFUSED_TXT);
    default: /* of others too: the rest of the batch */
        return exchange->status == 503;
    }
}

/* Look at the writes from index on, which are new. */
static void look_at_writes(struct world *world, size_t index)
{
    const struct config *config = &world->stage.config;
    assert_true(world->stage.upstream.count <= config->gateway_max_inflight);
    for (; index < world->stage.upstream.count; index++) {
        uint32_t ids[IDS_MAX];
        size_t count = ids_at(&world->stage, index, ids);
        size_t elements_bytes = 0;
        size_t decoded_bytes = 0;
        assert_in_range(count, 1, config->batch_max_requests);
        for (size_t i = 0; i < count; i++) {
            struct actor *actor = &world->actors[ids[i]];
            assert_true(i == 0 || ids[i] > ids[i - 1]);
            assert_false(actor->done);
            assert_false(actor->here);
            assert_true(count == 1 || !actor->alone);
            actor->sent = true;
            actor->here = true;
            elements_bytes += actor->elements_bytes;
            decoded_bytes += actor->decoded_bytes;
        }
        assert_true(count == 1 || elements_bytes <= config->batch_max_bytes);
        assert_true(count == 1 || decoded_bytes <= config->batch_max_decoded_bytes);
        world->tally->joined += count > 1;
    }
}

/* -- What happens ----------------------------------------------------------------------------- */

static void come(struct world *world)
{
    struct rng *rng = &world->rng;
    if (world->count == ACTORS_MAX) {
        return;
    }
    struct actor *actor = &world->actors[world->count];
    uint32_t bytes = STAMP_BYTES + (uint32_t)rng_below(rng, rng_one_in(rng, 20) ? 3000 : 200);
    sender_make(&world->stage, &actor->sender, world->count, bytes);
    struct request *request = actor->sender.request;
    bool suspect = rng_one_in(rng, 16);
    request->counts.joinable = !rng_one_in(rng, 8);
    actor->sender.exchange.sender_mark_us = suspect ? fake_now_us + 1 : 0;
    request->deadline_us -= rng_one_in(rng, 4) ? rng_below(rng, 20 * SEC_US) : 0;
    actor->alone = suspect || !request->counts.joinable;
    actor->bad = rng_one_in(rng, 10);
    actor->deadline_us = request->deadline_us;
    actor->elements_bytes = request->block.elements_bytes;
    actor->decoded_bytes = request->block.decoded_bytes;
    world->count++;
    if (rng_one_in(rng, 30)) {
        actor->life = LIFE_LEFT;
        sender_leave(&world->stage, &actor->sender);
        return;
    }
    actor->life = LIFE_WAITS;
    batcher_add(world->stage.batcher, request);
    look(world, hears_nothing, NULL);
}

static void leave(struct world *world)
{
    if (world->first == world->count) {
        return;
    }
    uint32_t id = world->first + (uint32_t)rng_below(&world->rng, world->count - world->first);
    struct actor *actor = &world->actors[id];
    if (actor->life == LIFE_WAITS) {
        actor->life = LIFE_LEFT;
        sender_leave(&world->stage, &actor->sender);
        world->tally->left++;
    }
}

/* What nobody waits for is sent all the same, and what is sent is not looked for here: only that
 * nobody with a slot free for him waits unsent, unless for the linger, for company or for memory.
 */
static void expect_all_sent(const struct world *world)
{
    if (world->stage.upstream.count == world->stage.config.gateway_max_inflight ||
        world->stage.config.batch_linger_us > 0) {
        return;
    }
    for (uint32_t id = world->first; id < world->count; id++) {
        assert_true(world->actors[id].life != LIFE_WAITS || world->actors[id].sent);
    }
}

static void tick(struct world *world)
{
    size_t before = world->stage.upstream.count;
    bool busy = rng_one_in(&world->rng, 2);
    batcher_tick(world->stage.batcher, busy);
    look_at_writes(world, before);
    look(world, hears_503_when_overdue, world);
    if (!busy || world->stage.upstream.count == 0) { /* company is waited for behind another only */
        expect_all_sent(world);
    }
    for (uint32_t id = world->first; id < world->count; id++) {
        assert_true(world->actors[id].life != LIFE_WAITS ||
                    world->actors[id].deadline_us > fake_now_us);
    }
}

static struct outcome choose_outcome(struct rng *rng, bool refuses)
{
    static const unsigned trouble[] = {429, 500, 503, 404, 401, 302};
    struct outcome outcome = {.kind = OUTCOME_ANSWERED, .status = refuses ? 400 : 200};
    if (rng_one_in(rng, 8)) {
        outcome.status = trouble[rng_below(rng, sizeof(trouble) / sizeof(trouble[0]))];
        outcome.retry_after_s = (unsigned)rng_below(rng, 400);
    } else if (rng_one_in(rng, 12)) {
        outcome.kind = (enum outcome_kind)(OUTCOME_UNREACHABLE + rng_below(rng, 3));
    }
    if (outcome.status == 400) {
        outcome.body_bytes = sizeof(REFUSED_TXT) - 1;
        memcpy(outcome.body, REFUSED_TXT, outcome.body_bytes);
    }
    return outcome;
}

/* The gateway says something of one of the writes. */
static void speak(struct world *world)
{
    struct upstream *upstream = &world->stage.upstream;
    if (upstream->count == 0) {
        return;
    }
    size_t index = rng_below(&world->rng, upstream->count);
    struct spoken spoken = {.world = world};
    bool refuses = false;
    spoken.count = ids_at(&world->stage, index, spoken.ids);
    for (size_t i = 0; i < spoken.count; i++) {
        struct actor *actor = &world->actors[spoken.ids[i]];
        refuses = refuses || actor->bad;
        actor->here = false;
    }
    spoken.outcome = choose_outcome(&world->rng, refuses);
    bool refused = spoken.outcome.kind == OUTCOME_ANSWERED && spoken.outcome.status == 400;
    for (size_t i = 0; i < spoken.count; i++) {
        struct actor *actor = &world->actors[spoken.ids[i]];
        /* Only what was refused together with others may come again. */
        actor->done = !refused || spoken.count == 1;
    }
    size_t before = upstream->count - 1;
    fake_end(upstream, index, &spoken.outcome);
    world->tally->split += refused && upstream->count > before;
    look_at_writes(world, before);
    look(world, hears_what_was_said, &spoken);
    for (size_t i = 0; i < spoken.count; i++) {
        const struct actor *actor = &world->actors[spoken.ids[i]];
        assert_true(!actor->done || actor->life != LIFE_WAITS);
    }
}

static void pass_time(struct world *world)
{
    struct rng *rng = &world->rng;
    uint64_t most_us = rng_one_in(rng, 50) ? 30 * SEC_US : rng_one_in(rng, 10) ? 2 * SEC_US : 10000;
    fake_now_us += rng_below(rng, most_us);
}

static void step(struct world *world)
{
    size_t dice = rng_below(&world->rng, 100);
    world->stage.upstream.without_memory = rng_one_in(&world->rng, 100);
    if (dice < 35) {
        come(world);
    } else if (dice < 60) {
        tick(world);
    } else if (dice < 85) {
        speak(world);
    } else if (dice < 96) {
        pass_time(world);
    } else {
        leave(world);
    }
    uint64_t deadline_us = batcher_deadline_us(world->stage.batcher);
    for (uint32_t id = world->first; id < world->count; id++) {
        assert_true(world->actors[id].life != LIFE_WAITS ||
                    deadline_us <= world->actors[id].deadline_us);
    }
}

static void run(uint64_t seed, struct actor *actors, struct tally *tally)
{
    static const uint64_t members[] = {1, 2, 3, 5, 16, 64};
    static const uint64_t lingers_us[] = {0, 0, 5000};
    static struct world world;
    world = (struct world){.rng = {.state = seed}, .actors = actors, .tally = tally};
    memset(actors, 0, ACTORS_MAX * sizeof(*actors));
    stage_open(&world.stage);
    struct config *config = &world.stage.config;
    config->gateway_max_inflight = 1 + rng_below(&world.rng, 4);
    config->batch_max_requests = members[rng_below(&world.rng, 6)];
    config->batch_max_bytes = 200 + rng_below(&world.rng, 2000);
    config->batch_max_decoded_bytes = 400 + rng_below(&world.rng, 4000);
    config->batch_linger_us = lingers_us[rng_below(&world.rng, 3)];
    for (unsigned i = 0; i < STEPS; i++) {
        step(&world);
    }
    world.stage.upstream.without_memory = false;
    batcher_cancel(world.stage.batcher);
    look(&world, hears_503, NULL);
    assert_int_equal(world.first, world.count);
    stage_close(&world.stage);
}

static void test_each_sender_hears_one_answer_and_a_true_one(void **state)
{
    (void)state;
    struct tally tally = {0};
    struct actor *actors = malloc(ACTORS_MAX * sizeof(*actors));
    assert_non_null(actors);
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        run(seed, actors, &tally);
    }
    free(actors);
    assert_true(tally.refused > 1000);
    assert_true(tally.deferred > 1000);
    assert_true(tally.left > 1000);
    assert_true(tally.overdue > 1000);
    assert_true(tally.joined > 1000);
    assert_true(tally.split > 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_sender_hears_one_answer_and_a_true_one),
    };
    return cmocka_run_group_tests_name("flow/batcher model", tests, NULL, NULL);
}
