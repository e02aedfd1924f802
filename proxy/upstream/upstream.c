/* The HTTP client side of a worker: its life and phases, and one curl multi handle driven by its
 * socket interface. Owns the calls that go by curl and their connections; writes by plain HTTP and
 * theirs are plain.c's and pool.c's. Knows nothing of batches or routes.
 *
 * What libcurl 7.88.1 does that its manual does not say is noted where it matters. */
#include "upstream/private.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "io/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define STALE_ATTEMPTS_MAX 16 /* connections found stale by one call, one after the other */

/* Take a header line apart. False for the status line and the empty line at the end. */
bool call_split_line(const char *line, size_t bytes, struct text *name, struct text *value)
{
    const char *colon = memchr(line, ':', bytes);
    if (colon == NULL) {
        return false;
    }
    *name = (struct text){.start = line, .bytes = (size_t)(colon - line)};
    struct text rest = {.start = colon + 1, .bytes = bytes - name->bytes - 1};
    while (rest.bytes > 0 &&
           (rest.start[rest.bytes - 1] == '\r' || rest.start[rest.bytes - 1] == '\n')) {
        rest.bytes--;
    }
    *value = text_trim(rest);
    return true;
}

/* -- A connection is chosen -------------------------------------------------------------------- */

/* Just before a request goes out: not on a connection that has something unread. The call is then
 * made again, on another one. */
static int on_before_request(void *arg, char *remote, char *local, int remote_port, int local_port)
{
    (void)remote;
    (void)local;
    struct upstream_call *call = arg;
    long new_connections = 0;
    (void)curl_easy_getinfo(call->easy, CURLINFO_NUM_CONNECTS, &new_connections);
    if (new_connections == 0 &&
        upstream_sockets_spoil_stale(&call->upstream->sockets, local_port, remote_port)) {
        call->stale = true;
        return CURL_PREREQFUNC_ABORT;
    }
    return CURL_PREREQFUNC_OK;
}

/* -- Calls ------------------------------------------------------------------------------------- */

static bool set_up(struct upstream_call *call)
{
    const struct upstream_settings *settings = &call->upstream->settings;
    CURL *easy = call->easy;
    bool ok = true;
    UPSTREAM_SET(CURLOPT_PRIVATE, call);
    UPSTREAM_SET(CURLOPT_ERRORBUFFER, call->error);
    UPSTREAM_SET(CURLOPT_HEADERDATA, call);
    UPSTREAM_SET(CURLOPT_WRITEDATA, call);
    UPSTREAM_SET(CURLOPT_PREREQFUNCTION, on_before_request);
    UPSTREAM_SET(CURLOPT_PREREQDATA, call);
    UPSTREAM_SET(CURLOPT_OPENSOCKETFUNCTION, upstream_sockets_on_open);
    UPSTREAM_SET(CURLOPT_OPENSOCKETDATA, &call->upstream->sockets);
    UPSTREAM_SET(CURLOPT_CLOSESOCKETFUNCTION, upstream_sockets_on_close);
    UPSTREAM_SET(CURLOPT_CLOSESOCKETDATA, &call->upstream->sockets);
    UPSTREAM_SET(CURLOPT_CONNECTTIMEOUT_MS, (long)(settings->connect_timeout_us / 1000));
    UPSTREAM_SET(CURLOPT_HTTP_VERSION,
                 (long)CURL_HTTP_VERSION_1_1); /* HTTP/2 uploads are broken here */
    UPSTREAM_SET(CURLOPT_PROTOCOLS_STR, "http,https");
    UPSTREAM_SET(CURLOPT_FOLLOWLOCATION, 0L);
    UPSTREAM_SET(CURLOPT_PATH_AS_IS, 1L);
    UPSTREAM_SET(CURLOPT_PROXY, "");    /* else http_proxy in the environment decides */
    UPSTREAM_SET(CURLOPT_NOSIGNAL, 1L); /* else signal handlers are swapped on each call */
    UPSTREAM_SET(CURLOPT_QUICK_EXIT,
                 1L); /* else a resolver's thread is joined, and the loop blocks */
    UPSTREAM_SET(CURLOPT_TCP_KEEPALIVE, 1L);
    uint64_t idle_us = call->upstream->identity.idle_timeout_us;
    UPSTREAM_SET(CURLOPT_MAXAGE_CONN,
                 idle_us > 0 ? (long)((idle_us + 999999) / 1000000) : (long)UPSTREAM_IDLE_S);
    UPSTREAM_SET(CURLOPT_MAXLIFETIME_CONN,
                 (long)((settings->connection_age_us + 999999) / 1000000));
    /* So that connections spread over a name's addresses: curl shuffles them as it resolves the
     * name, so each new connection resolves it again. */
    UPSTREAM_SET(CURLOPT_DNS_CACHE_TIMEOUT, 0L);
    UPSTREAM_SET(CURLOPT_DNS_SHUFFLE_ADDRESSES, 1L);
    return ok;
}

static void free_headers(struct upstream_call *call)
{
    if (call->kind != CALL_READ) {
        curl_slist_free_all(call->headers);
    }
    free(call->header_block);
    call->header_block = NULL;
    call->headers = NULL;
}

static void free_call(struct upstream_call *call)
{
    curl_easy_cleanup(call->easy);
    free_headers(call);
    curl_slist_free_all(call->connect_to);
    free(call->host_line);
    free(call);
}

static bool set_up_kind(struct upstream_call *call)
{
    switch (call->kind) {
    case CALL_WRITE:
        return call_set_up_write(call);
    case CALL_READ:
        return call_set_up_read(call);
    case CALL_CONNECT:
        return call_set_up_connect(call);
    case CALL_KINDS:
        break;
    }
    return false;
}

struct upstream_call *call_take(struct upstream *upstream, enum call_kind kind)
{
    struct upstream_call *call = upstream->idle[kind];
    if (call != NULL) {
        upstream->idle[kind] = call->next;
        return call;
    }
    call = calloc(1, sizeof(*call));
    if (call == NULL) {
        return NULL;
    }
    call->upstream = upstream;
    call->kind = kind;
    call->easy = curl_easy_init();
    if (call->easy == NULL || !set_up(call) || !set_up_kind(call)) {
        free_call(call);
        return NULL;
    }
    return call;
}

void call_put(struct upstream_call *call)
{
    struct upstream *upstream = call->upstream;
    if (call->generation != upstream->generation) {
        free_call(call);
        return;
    }
    if (call->kind == CALL_READ) {
        free_headers(call);
    }
    call->prev = NULL;
    call->next = upstream->idle[call->kind];
    upstream->idle[call->kind] = call;
}

/* Take a call off the running ones and out of curl. */
static void stop_call(struct upstream_call *call)
{
    struct upstream *upstream = call->upstream;
    (void)curl_multi_remove_handle(upstream->multi, call->easy);
    if (call->prev != NULL) {
        call->prev->next = call->next;
    } else {
        upstream->running = call->next;
    }
    if (call->next != NULL) {
        call->next->prev = call->prev;
    }
}

static int on_timer_wish(CURLM *multi, long timeout_ms, void *arg)
{
    (void)multi;
    struct upstream *upstream = arg;
    upstream->timer_us = timeout_ms < 0 ? LOOP_NEVER : clock_now_us() + (uint64_t)timeout_ms * 1000;
    return 0;
}

/* Make curl's multi handle. False without memory; there is then none. */
static bool start(struct upstream *upstream)
{
    CURLM *multi = curl_multi_init();
    upstream->multi = multi;
    if (multi != NULL && upstream_sockets_init(&upstream->sockets, multi, upstream->loop) == 0 &&
        curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer_wish) == CURLM_OK &&
        curl_multi_setopt(multi, CURLMOPT_TIMERDATA, upstream) == CURLM_OK &&
        curl_multi_setopt(multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING) == CURLM_OK &&
        curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)pool_left_to_curl(upstream)) ==
            CURLM_OK &&
        curl_multi_setopt(multi, CURLMOPT_MAX_HOST_CONNECTIONS,
                          (long)upstream->settings.connections_max) == CURLM_OK) {
        return true;
    }
    (void)curl_multi_cleanup(multi);
    upstream->multi = NULL;
    return false;
}

int call_start(struct upstream_call *call, upstream_on_done *on_done, void *arg)
{
    struct upstream *upstream = call->upstream;
    call->on_done = on_done;
    call->arg = arg;
    call->error[0] = '\0';
    call->outcome.retry_after_s = 0;
    call->outcome.body_bytes = 0;
    call->answer_bytes = 0;
    call->resume = false;
    call->stale = false;
    call->attempts = 0;
    if ((upstream->multi == NULL && !start(upstream)) ||
        curl_multi_add_handle(upstream->multi, call->easy) != CURLM_OK) {
        return -ENOMEM;
    }
    call->prev = NULL;
    call->next = upstream->running;
    if (call->next != NULL) {
        call->next->prev = call;
    }
    upstream->running = call;
    upstream->started = true;
    return 0;
}

void upstream_abort(struct upstream_call *call)
{
    stop_call(call);
    call_put(call);
}

/* -- Outcomes ---------------------------------------------------------------------------------- */

static enum outcome_kind kind_of(CURLcode code)
{
    if (code == CURLE_OK) {
        return OUTCOME_ANSWERED;
    }
    if (code == CURLE_OPERATION_TIMEDOUT) {
        return OUTCOME_TIMEOUT;
    }
    /* Only what is known to have ended before a byte of the request was sent is unreachable. */
    if (code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST ||
        code == CURLE_COULDNT_RESOLVE_PROXY || code == CURLE_SSL_CONNECT_ERROR ||
        code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CERTPROBLEM) {
        return OUTCOME_UNREACHABLE;
    }
    return OUTCOME_BROKEN;
}

static void note_outcome(struct upstream_call *call, CURLcode code)
{
    struct outcome *outcome = &call->outcome;
    long status = 0;
    (void)curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
    bool refused = call->kind == CALL_WRITE && code == CURLE_WRITE_ERROR &&
                   call_write_refused_at_length(call, status);
    outcome->kind = refused ? OUTCOME_ANSWERED : kind_of(code);
    if (outcome->kind == OUTCOME_ANSWERED && status <= 0 && call->kind != CALL_CONNECT) {
        outcome->kind = OUTCOME_BROKEN;
    }
    const char *flaw = outcome->kind == OUTCOME_ANSWERED && call->kind == CALL_WRITE
                           ? call_write_flaw(call, status)
                           : NULL;
    if (flaw != NULL) {
        outcome->kind = OUTCOME_BROKEN;
    }
    outcome->status = outcome->kind == OUTCOME_ANSWERED ? (unsigned)status : 0;
    outcome->detail[0] = '\0';
    if (outcome->kind != OUTCOME_ANSWERED) {
        const char *text = flaw != NULL             ? flaw
                           : call->error[0] != '\0' ? call_explain(call->error)
                                                    : curl_easy_strerror(code);
        size_t bytes = strnlen(text, sizeof(outcome->detail) - 1);
        memcpy(outcome->detail, text, bytes);
        outcome->detail[bytes] = '\0';
    }
    call_hide_credentials(call);
}

static void report(struct upstream_call *call)
{
    if (call->kind == CALL_CONNECT) {
        pool_claim(call);
    }
    stop_call(call);
    call->on_done(call->arg, &call->outcome);
    call_put(call);
}

/* Not a byte of it was sent, so this is no repeat. */
static bool start_again(struct upstream_call *call)
{
    struct upstream *upstream = call->upstream;
    call->stale = false;
    metrics_add(upstream->settings.metrics, METRIC_GATEWAY_STALE, 1);
    (void)curl_multi_remove_handle(upstream->multi, call->easy);
    upstream->started = true;
    return ++call->attempts <= STALE_ATTEMPTS_MAX &&
           curl_multi_add_handle(upstream->multi, call->easy) == CURLM_OK;
}

static void report_ended(struct upstream *upstream)
{
    int left;
    CURLMsg *message;
    while ((message = curl_multi_info_read(upstream->multi, &left)) != NULL) {
        if (message->msg != CURLMSG_DONE) {
            continue;
        }
        CURLcode code = message->data.result;
        char *private = NULL;
        (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &private);
        struct upstream_call *call = (struct upstream_call *)(void *)private;
        if (call->stale && start_again(call)) {
            continue;
        }
        note_outcome(call, code);
        report(call);
    }
}

void upstream_cancel_writes(struct upstream *upstream)
{
    struct upstream_call *next;
    for (struct upstream_call *call = upstream->running; call != NULL; call = next) {
        next = call->next;
        if (call->kind == CALL_WRITE) {
            call->outcome.kind = OUTCOME_CANCELLED;
            call->outcome.status = 0;
            call->outcome.detail[0] = '\0';
            report(call);
        }
    }
    plain_cancel(upstream);
}

/* -- The phases -------------------------------------------------------------------------------- */

static void run_timer(struct upstream *upstream)
{
    int running;
    if (upstream->failed) {
        return;
    }
    upstream->timer_us = LOOP_NEVER;
    if (curl_multi_socket_action(upstream->multi, CURL_SOCKET_TIMEOUT, 0, &running) != CURLM_OK) {
        upstream->failed = true;
    }
}

/* After an error libcurl 7.88.1 is not to be used again: out of memory it neither asks for its
 * timer, so that calls wait for ever, nor keeps a socket's table of transfers whole, and divides by
 * its size, which is 0, later. What is in flight ends, as a broken connection would end it. */
static void start_over(struct upstream *upstream)
{
    struct upstream_call *ended = upstream->running;
    upstream->failed = false;
    upstream->started = false;
    upstream->resumes = false;
    upstream->running = NULL;
    log_warn(upstream->settings.log, "http client failed and is started anew");
    for (struct upstream_call *call = ended; call != NULL; call = call->next) {
        (void)curl_multi_remove_handle(upstream->multi, call->easy);
    }
    (void)curl_multi_cleanup(upstream->multi);
    upstream_sockets_deinit(&upstream->sockets);
    upstream->timer_us = LOOP_NEVER;
    (void)!start(upstream); /* else the next call tries */
    while (ended != NULL) {
        struct upstream_call *call = ended;
        ended = call->next;
        note_outcome(call, CURLE_OUT_OF_MEMORY);
        call->on_done(call->arg, &call->outcome);
        call_put(call);
    }
}

static void settle(struct upstream *upstream)
{
    report_ended(upstream);
    if (upstream->failed) {
        start_over(upstream);
    }
}

/* Go on with a paused call: what curl kept is offered at once, and it asks for a run of its timer
 * for the rest. Returns false when curl found no memory. It does not say so where it fails to take
 * up the socket again, which shows in that it knows the socket and has not asked us to watch it. */
static bool resume_read(struct upstream_call *call)
{
    struct upstream *upstream = call->upstream;
    curl_socket_t fd = CURL_SOCKET_BAD;
    (void)curl_easy_getinfo(call->easy, CURLINFO_ACTIVESOCKET, &fd);
    call->resume = false;
    upstream->started = true;
    return curl_easy_pause(call->easy, CURLPAUSE_CONT) == CURLE_OK &&
           (upstream_sockets_wanted(&upstream->sockets, fd) ||
            curl_multi_assign(upstream->multi, fd, NULL) != CURLM_OK);
}

static void resume_reads(struct upstream *upstream)
{
    upstream->resumes = false;
    for (struct upstream_call *call = upstream->running; call != NULL && !upstream->failed;
         call = call->next) {
        if (call->resume && !resume_read(call)) {
            upstream->failed = true;
        }
    }
}

void upstream_run(struct upstream *upstream)
{
    if (upstream_sockets_run(&upstream->sockets) != 0) {
        upstream->failed = true;
    }
    if (upstream->timer_us != LOOP_NEVER && clock_now_us() >= upstream->timer_us) {
        run_timer(upstream);
    }
    settle(upstream);
    plain_run(upstream);
}

void upstream_flush(struct upstream *upstream)
{
    plain_flush(upstream);
    if (upstream->resumes) {
        resume_reads(upstream);
    }
    if (upstream->started) {
        /* curl starts a new call from its timer. */
        upstream->started = false;
        run_timer(upstream);
        settle(upstream);
    }
    upstream_sockets_flush(&upstream->sockets);
}

uint64_t upstream_deadline_us(const struct upstream *upstream)
{
    uint64_t plain_us = plain_deadline_us(upstream);
    uint64_t curl_us = upstream->started ? 0 : upstream->timer_us;
    return plain_us < curl_us ? plain_us : curl_us;
}

/* -- Life -------------------------------------------------------------------------------------- */

int upstream_library_init(void)
{
    /* A lookup of a name is given up with its call, but glibc goes on with it in a thread, for up
     * to 10 s a name that it tries. With a name server that says nothing such threads pile up. */
    (void)setenv("RES_OPTIONS", "timeout:1 attempts:2", 0);
    return curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? 0 : -ENOMEM;
}

void upstream_library_deinit(void)
{
    curl_global_cleanup();
}

static void free_idle_calls(struct upstream *upstream)
{
    for (size_t i = 0; i < CALL_KINDS; i++) {
        while (upstream->idle[i] != NULL) {
            struct upstream_call *call = upstream->idle[i];
            upstream->idle[i] = call->next;
            free_call(call);
        }
    }
}

void upstream_set_identity(struct upstream *upstream, const struct upstream_identity *identity)
{
    upstream->identity = *identity;
    upstream->generation++;
    free_idle_calls(upstream);
    plain_forget_identity(upstream);
}

static bool copy_settings(struct upstream *upstream, const struct upstream_settings *settings)
{
    upstream->settings = *settings;
    upstream->write_url = strdup(settings->write_url);
    upstream->read_url = strdup(settings->read_url);
    for (size_t i = 0; settings->write_headers[i] != NULL; i++) {
        if (call_add_line(&upstream->write_headers, settings->write_headers[i]) != 0) {
            return false;
        }
    }
    return upstream->write_url != NULL && upstream->read_url != NULL;
}

struct upstream *upstream_new(const struct upstream_settings *settings, struct loop *loop)
{
    struct upstream *upstream = calloc(1, sizeof(*upstream));
    if (upstream != NULL) {
        upstream->loop = loop;
        upstream->timer_us = LOOP_NEVER;
        pool_init(&upstream->pool);
    }
    if (upstream == NULL || !copy_settings(upstream, settings) || !start(upstream)) {
        log_error(settings->log, "cannot start the http client");
        upstream_free(upstream);
        return NULL;
    }
    return upstream;
}

void upstream_free(struct upstream *upstream)
{
    if (upstream == NULL) {
        return;
    }
    struct upstream_call *next;
    for (struct upstream_call *call = upstream->running; call != NULL; call = next) {
        next = call->next;
        upstream_abort(call);
    }
    free_idle_calls(upstream);
    plain_deinit(upstream);
    pool_close_idle(upstream);
    if (upstream->multi != NULL) {
        (void)curl_multi_cleanup(upstream->multi);
    }
    upstream_sockets_deinit(&upstream->sockets);
    curl_slist_free_all(upstream->write_headers);
    free(upstream->write_url);
    free(upstream->read_url);
    free(upstream);
}
