/* Who may use the proxy. Owns the checks under way and the exchanges that wait for them. */
#include "flow/guard.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "config/material.h"
#include "flow/context.h"
#include "io/password_checker.h"
#include "server/server.h"
#include "wire/basic_auth.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define REMEMBERED_MAX  64 /* headers that were right, and as many that were wrong */
#define LOG_INTERVAL_US (10U * 1000U * 1000U)

/* The last of them overwrites the first. What was wrong cannot push out what was right. */
struct memory {
    uint8_t digests[REMEMBERED_MAX][PASSWORD_DIGEST_BYTES];
    size_t count;
    size_t next;
};

/* An exchange that waits for a check; it is the exchange's state meanwhile. */
struct waiter {
    struct waiter *next;
    struct exchange *exchange; /* NULL: gone */
};

/* Owner: the guard, from the asking until the checker's answer. */
struct check {
    struct check *next;
    struct waiter *waiters;
    uint8_t digest[PASSWORD_DIGEST_BYTES]; /* of the header */
    bool user_exists;
    bool outdated; /* asked for users that are no longer those in use */
    char user[];
};

struct guard {
    const struct flow_context *context;
    struct password_checker *checker;
    struct server_gate gate;
    const struct material_user *users;
    size_t user_count;
    struct memory right;
    struct memory wrong;
    struct check *checks;
    struct log_gate log_gate;
    struct log_gate thread_gate;
};

/* -- Memory ----------------------------------------------------------------------------------- */

/* Digests are keyed, so the time that this takes tells nothing of a secret. */
static bool remembers(const struct memory *memory, const uint8_t *digest)
{
    for (size_t i = 0; i < memory->count; i++) {
        if (memcmp(memory->digests[i], digest, PASSWORD_DIGEST_BYTES) == 0) {
            return true;
        }
    }
    return false;
}

static void remember(struct memory *memory, const uint8_t *digest)
{
    memcpy(memory->digests[memory->next], digest, PASSWORD_DIGEST_BYTES);
    memory->next = (memory->next + 1) % REMEMBERED_MAX;
    memory->count += memory->count < REMEMBERED_MAX;
}

/* -- Answers ---------------------------------------------------------------------------------- */

/* user: NULL where none was named. */
static void refuse(struct guard *guard, struct exchange *exchange, const char *user)
{
    static const struct server_header headers[] = {
        {"WWW-Authenticate", "Basic realm=\"agent-proxy\", charset=\"UTF-8\""}, {NULL, NULL}};
    uint64_t held_back;
    metrics_add(guard->context->metrics, METRIC_REJECTED_UNAUTHORIZED, 1);
    if (user != NULL &&
        log_gate_pass(&guard->log_gate, clock_now_us(), LOG_INTERVAL_US, &held_back)) {
        char peer[SERVER_PEER_BYTES];
        exchange_print_peer(exchange, peer);
        log_warn(guard->context->log, "wrong user or password", log_str("user", user),
                 log_str("peer", peer), log_u64("held_back", held_back));
    }
    exchange_reply_text(exchange, 401, headers,
                        user != NULL ? "wrong user or password" : "a user and password are needed");
}

/* status: of password_checker_add(). */
static void refuse_for_now(struct guard *guard, struct exchange *exchange, int status)
{
    static const struct server_header headers[] = {{"Retry-After", "5"}, {NULL, NULL}};
    uint64_t held_back;
    bool crowded = status == -EAGAIN;
    metrics_add(guard->context->metrics, METRIC_REJECTED_PASSWORD_CHECKS, 1);
    if (!crowded &&
        log_gate_pass(&guard->thread_gate, clock_now_us(), LOG_INTERVAL_US, &held_back)) {
        log_error(
            guard->context->log,
            "cannot make the thread that checks passwords: see the limits of tasks and memory",
            log_u64("held_back", held_back));
    }
    exchange_reply_text(exchange, 503, headers,
                        crowded ? "too many passwords wait to be checked"
                                : "passwords cannot be checked for now");
}

/* -- Checks ----------------------------------------------------------------------------------- */

static struct check *check_of(struct guard *guard, const uint8_t *digest)
{
    for (struct check *check = guard->checks; check != NULL; check = check->next) {
        if (!check->outdated && memcmp(check->digest, digest, PASSWORD_DIGEST_BYTES) == 0) {
            return check;
        }
    }
    return NULL;
}

/* An unknown user's password is checked as well, against another's: the time of the answer does not
 * tell who exists. Errors: as password_checker_add(). */
static int begin_check(struct guard *guard, const uint8_t *digest, const struct basic_auth *auth,
                       struct check **begun)
{
    size_t user = 0;
    while (user < guard->user_count && strcmp(guard->users[user].name, auth->user) != 0) {
        user++;
    }
    bool exists = user < guard->user_count;
    size_t user_bytes = strlen(auth->user) + 1;
    struct check *check = alloc_zero(1, sizeof(*check) + user_bytes);
    memcpy(check->digest, digest, PASSWORD_DIGEST_BYTES);
    memcpy(check->user, auth->user, user_bytes);
    check->user_exists = exists;
    int status = password_checker_add(guard->checker, auth->password,
                                      guard->users[exists ? user : 0].hash, check);
    if (status != 0) {
        free(check);
        return status;
    }
    check->next = guard->checks;
    guard->checks = check;
    *begun = check;
    return 0;
}

static void wait_for_check(struct guard *guard, struct exchange *exchange, const uint8_t *digest,
                           const struct basic_auth *auth)
{
    struct check *check = check_of(guard, digest);
    int status = check == NULL ? begin_check(guard, digest, auth, &check) : 0;
    if (status != 0) {
        refuse_for_now(guard, exchange, status);
        return;
    }
    struct waiter *waiter = alloc_zero(1, sizeof(*waiter));
    waiter->exchange = exchange;
    waiter->next = check->waiters;
    check->waiters = waiter;
    exchange_set_state(exchange, waiter);
}

static void remove_check(struct guard *guard, const struct check *check)
{
    struct check **at = &guard->checks;
    while (*at != check) {
        at = &(*at)->next;
    }
    *at = check->next;
}

static void settle(struct guard *guard, struct check *check, bool passes)
{
    if (!check->outdated) {
        remember(passes ? &guard->right : &guard->wrong, check->digest);
    }
    while (check->waiters != NULL) {
        struct waiter *waiter = check->waiters;
        struct exchange *exchange = waiter->exchange;
        check->waiters = waiter->next;
        free(waiter);
        if (exchange == NULL) {
            continue;
        }
        exchange_set_state(exchange, NULL);
        if (passes) {
            exchange_admit(exchange);
        } else {
            refuse(guard, exchange, check->user);
        }
    }
    remove_check(guard, check);
    free(check);
}

void guard_tick(struct guard *guard)
{
    void *arg;
    bool matches;
    while (password_checker_take(guard->checker, &arg, &matches)) {
        struct check *check = arg;
        settle(guard, check, matches && check->user_exists);
    }
}

/* -- The gate --------------------------------------------------------------------------------- */

static bool is_open(enum route_id route)
{
    return route == ROUTE_HEALTHY || route == ROUTE_READY;
}

static bool passes(void *owner, enum route_id route, const char *authorization)
{
    struct guard *guard = owner;
    uint8_t digest[PASSWORD_DIGEST_BYTES];
    if (guard->user_count == 0 || is_open(route)) {
        return true;
    }
    if (authorization == NULL) {
        return false;
    }
    password_checker_digest(guard->checker, authorization, strlen(authorization), digest);
    return remembers(&guard->right, digest);
}

static bool on_headers(void *owner, struct exchange *exchange)
{
    struct guard *guard = owner;
    const char *value = exchange_header(exchange, "Authorization");
    uint8_t digest[PASSWORD_DIGEST_BYTES];
    struct basic_auth auth;
    if (passes(guard, exchange_route(exchange)->id, value)) {
        return true;
    }
    if (value == NULL) {
        refuse(guard, exchange, NULL);
        return false;
    }
    password_checker_digest(guard->checker, value, strlen(value), digest);
    if (basic_auth_parse(value, &auth) != 0) {
        refuse(guard, exchange, NULL);
        return false;
    }
    if (remembers(&guard->wrong, digest)) {
        refuse(guard, exchange, auth.user);
    } else {
        wait_for_check(guard, exchange, digest, &auth);
    }
    explicit_bzero(&auth, sizeof(auth));
    return false;
}

static void on_end(void *owner, struct exchange *exchange)
{
    (void)owner;
    struct waiter *waiter = exchange_state(exchange);
    assert(waiter->exchange == exchange);
    waiter->exchange = NULL;
}

void guard_set_users(struct guard *guard, const struct material_user *users, size_t count)
{
    guard->users = users;
    guard->user_count = count;
    guard->right.count = 0;
    guard->right.next = 0;
    guard->wrong.count = 0;
    guard->wrong.next = 0;
    for (struct check *check = guard->checks; check != NULL; check = check->next) {
        check->outdated = true;
    }
}

/* -- Life ------------------------------------------------------------------------------------- */

struct guard *guard_new(const struct flow_context *context, struct password_checker *checker)
{
    struct guard *guard = calloc(1, sizeof(*guard));
    if (guard == NULL) {
        return NULL;
    }
    guard->context = context;
    guard->checker = checker;
    guard->gate = (struct server_gate){
        .owner = guard, .passes = passes, .on_headers = on_headers, .on_end = on_end};
    return guard;
}

void guard_free(struct guard *guard)
{
    if (guard == NULL) {
        return;
    }
    while (guard->checks != NULL) {
        struct check *check = guard->checks;
        guard->checks = check->next;
        while (check->waiters != NULL) {
            struct waiter *waiter = check->waiters;
            check->waiters = waiter->next;
            assert(waiter->exchange == NULL);
            free(waiter);
        }
        free(check);
    }
    free(guard);
}

const struct server_gate *guard_gate(struct guard *guard)
{
    return &guard->gate;
}
