/* The HTTP client side of a worker: one curl multi handle driven by its socket interface. Owns the
 * connections to the gateway and the calls in flight; knows nothing of batches.
 *
 * What libcurl 7.88.1 does that its manual does not say is noted where it matters. */
#include "io/upstream.h"

#include "base/clock.h"
#include "base/log.h"
#include "io/loop.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <unistd.h>

#define ANSWER_BYTES_MAX    (64U * 1024U) /* of the answer to a write; more makes no sense */
#define UPLOAD_BUFFER_BYTES (256L * 1024L)
#define CONNECTION_IDLE_S   30L /* below the idle timeout of any gateway that we know */

/* A descriptor that curl watches. curl drops and sets its watch for every call; the wish is only
 * noted, and put to the kernel at the end of the turn, when most have come back to what they were.
 * Owner: upstream, from curl's first wish until its last is put into force. */
struct upstream_socket {
    struct loop_watch watch;
    struct upstream *upstream;
    struct upstream_socket *next;       /* of the upstream */
    struct upstream_socket *next_ready; /* in the ready list */
    int fd;
    uint32_t wanted;     /* epoll events that curl wants; 0: none */
    uint32_t registered; /* epoll events that the kernel knows */
    uint32_t ready;      /* recorded, not yet handed to curl */
};

enum call_state { CALL_IDLE, CALL_RUNNING, CALL_ENDED };

/* One POST. Owner: upstream; kept and used again, with its curl handle. */
struct upstream_call {
    struct upstream_call *next; /* free list or running list */
    struct upstream_call *prev; /* running list */
    struct upstream *upstream;
    CURL *easy;
    enum call_state state;
    const struct upstream_piece *pieces;
    size_t count;
    size_t piece;        /* being read */
    size_t piece_offset; /* [bytes] of it that were read */
    size_t answer_bytes;
    upstream_on_done *on_done;
    void *arg;
    struct outcome outcome;
    char error[CURL_ERROR_SIZE];
};

struct upstream {
    struct upstream_settings settings;
    struct loop *loop;
    CURLM *multi;
    struct curl_slist *headers;
    struct upstream_socket *sockets;
    struct upstream_socket *ready;
    struct upstream_call *running;
    struct upstream_call *idle;
    uint64_t timer_us; /* curl's own; LOOP_NEVER: none */
    bool started;      /* calls were added since curl was last run */
};

/* -- Watches ---------------------------------------------------------------------------------- */

static void on_socket_ready(struct loop_watch *watch, uint32_t events)
{
    struct upstream_socket *socket =
        (struct upstream_socket *)((char *)watch - offsetof(struct upstream_socket, watch));
    if (socket->ready == 0) {
        socket->next_ready = socket->upstream->ready;
        socket->upstream->ready = socket;
    }
    socket->ready |= events;
}

static struct upstream_socket *socket_of(struct upstream *upstream, int fd)
{
    for (struct upstream_socket *s = upstream->sockets; s != NULL; s = s->next) {
        if (s->fd == fd) {
            return s;
        }
    }
    struct upstream_socket *socket = calloc(1, sizeof(*socket));
    if (socket == NULL) {
        return NULL;
    }
    socket->watch.on_ready = on_socket_ready;
    socket->upstream = upstream;
    socket->fd = fd;
    socket->next = upstream->sockets;
    upstream->sockets = socket;
    return socket;
}

/* curl's wish. An error here would end the whole multi handle, so one that finds no memory is
 * left to the call's own timeout. */
static int on_socket_wish(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
    (void)easy;
    struct upstream *upstream = arg;
    struct upstream_socket *socket = socket_arg;
    if (socket == NULL || socket->fd != fd) {
        socket = socket_of(upstream, fd);
        if (socket == NULL) {
            return 0;
        }
        (void)curl_multi_assign(upstream->multi, fd, socket);
    }
    socket->wanted = ((what & CURL_POLL_IN) != 0 ? (uint32_t)EPOLLIN : 0) |
                     ((what & CURL_POLL_OUT) != 0 ? (uint32_t)EPOLLOUT : 0);
    if (what == CURL_POLL_REMOVE) {
        socket->wanted = 0;
        (void)curl_multi_assign(upstream->multi, fd, NULL);
    }
    return 0;
}

/* The kernel forgets a descriptor that is closed; so must we, before its number comes again. */
static int on_socket_close(void *arg, curl_socket_t fd)
{
    struct upstream *upstream = arg;
    for (struct upstream_socket *s = upstream->sockets; s != NULL; s = s->next) {
        if (s->fd == fd) {
            loop_clear(upstream->loop, fd);
            s->registered = 0;
            s->wanted = 0;
            s->ready = 0;
        }
    }
    return close(fd);
}

static void put_wishes_into_force(struct upstream *upstream)
{
    struct upstream_socket **at = &upstream->sockets;
    while (*at != NULL) {
        struct upstream_socket *socket = *at;
        if (socket->wanted == 0) {
            if (socket->registered != 0) {
                loop_clear(upstream->loop, socket->fd);
            }
            *at = socket->next;
            free(socket);
            continue;
        }
        if (socket->wanted != socket->registered &&
            loop_set(upstream->loop, socket->fd, socket->wanted, &socket->watch) == 0) {
            socket->registered = socket->wanted;
        }
        at = &socket->next;
    }
}

static int on_timer_wish(CURLM *multi, long timeout_ms, void *arg)
{
    (void)multi;
    struct upstream *upstream = arg;
    upstream->timer_us = timeout_ms < 0 ? LOOP_NEVER : clock_now_us() + (uint64_t)timeout_ms * 1000;
    return 0;
}

/* -- A call's body goes out, its answer comes in ---------------------------------------------- */

static size_t on_body_wanted(char *out, size_t size, size_t count, void *arg)
{
    struct upstream_call *call = arg;
    size_t room = size * count;
    size_t filled = 0;
    while (filled < room && call->piece < call->count) {
        const struct upstream_piece *piece = &call->pieces[call->piece];
        size_t bytes = piece->bytes - call->piece_offset;
        if (bytes > room - filled) {
            bytes = room - filled;
        }
        memcpy(out + filled, piece->data + call->piece_offset, bytes);
        filled += bytes;
        call->piece_offset += bytes;
        if (call->piece_offset == piece->bytes) {
            call->piece++;
            call->piece_offset = 0;
        }
    }
    return filled;
}

/* curl sends a POST again by itself when a reused connection proves dead before any answer. */
static int on_body_rewind(void *arg, curl_off_t offset, int origin)
{
    struct upstream_call *call = arg;
    if (offset != 0 || origin != SEEK_SET) {
        return CURL_SEEKFUNC_FAIL;
    }
    call->piece = 0;
    call->piece_offset = 0;
    return CURL_SEEKFUNC_OK;
}

static size_t on_answer_header(char *line, size_t size, size_t count, void *arg)
{
    static const char NAME[] = "Retry-After:";
    struct upstream_call *call = arg;
    size_t bytes = size * count;
    if (bytes > sizeof(NAME) - 1 && strncasecmp(line, NAME, sizeof(NAME) - 1) == 0) {
        call->outcome.retry_after_s =
            verdict_parse_retry_after(line + sizeof(NAME) - 1, bytes - (sizeof(NAME) - 1));
    }
    return bytes;
}

static size_t on_answer_body(char *data, size_t size, size_t count, void *arg)
{
    struct upstream_call *call = arg;
    struct outcome *outcome = &call->outcome;
    size_t bytes = size * count;
    size_t room = OUTCOME_BODY_MAX - outcome->body_bytes;
    size_t kept = bytes < room ? bytes : room;
    memcpy(outcome->body + outcome->body_bytes, data, kept);
    outcome->body_bytes += kept;
    call->answer_bytes += bytes;
    return call->answer_bytes <= ANSWER_BYTES_MAX ? bytes : 0;
}

/* -- Calls ------------------------------------------------------------------------------------ */

static bool set_up(struct upstream_call *call)
{
    const struct upstream *upstream = call->upstream;
    const struct upstream_settings *settings = &upstream->settings;
    CURL *easy = call->easy;
    bool ok = true;
#define SET(option, value) ok = ok && curl_easy_setopt(easy, (option), (value)) == CURLE_OK
    SET(CURLOPT_URL, settings->write_url);
    SET(CURLOPT_HTTPHEADER, upstream->headers);
    SET(CURLOPT_POST, 1L);
    SET(CURLOPT_READFUNCTION, on_body_wanted);
    SET(CURLOPT_READDATA, call);
    SET(CURLOPT_SEEKFUNCTION, on_body_rewind);
    SET(CURLOPT_SEEKDATA, call);
    SET(CURLOPT_HEADERFUNCTION, on_answer_header);
    SET(CURLOPT_HEADERDATA, call);
    SET(CURLOPT_WRITEFUNCTION, on_answer_body);
    SET(CURLOPT_WRITEDATA, call);
    SET(CURLOPT_CLOSESOCKETFUNCTION, on_socket_close);
    SET(CURLOPT_CLOSESOCKETDATA, call->upstream);
    SET(CURLOPT_PRIVATE, call);
    SET(CURLOPT_ERRORBUFFER, call->error);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)(settings->connect_timeout_us / 1000));
    SET(CURLOPT_TIMEOUT_MS, (long)(settings->timeout_us / 1000));
    SET(CURLOPT_UPLOAD_BUFFERSIZE, UPLOAD_BUFFER_BYTES);
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1); /* HTTP/2 uploads are broken here */
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_PATH_AS_IS, 1L);
    SET(CURLOPT_PROXY, "");      /* else http_proxy in the environment decides */
    SET(CURLOPT_NOSIGNAL, 1L);   /* else signal handlers are swapped on each call */
    SET(CURLOPT_QUICK_EXIT, 1L); /* else a resolver's thread is joined, and the loop blocks */
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    SET(CURLOPT_MAXAGE_CONN, CONNECTION_IDLE_S);
    SET(CURLOPT_DNS_CACHE_TIMEOUT, 30L);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
#undef SET
    return ok;
}

static struct upstream_call *take_idle_call(struct upstream *upstream)
{
    struct upstream_call *call = upstream->idle;
    if (call != NULL) {
        upstream->idle = call->next;
        return call;
    }
    call = calloc(1, sizeof(*call));
    if (call == NULL) {
        return NULL;
    }
    call->upstream = upstream;
    call->easy = curl_easy_init();
    if (call->easy == NULL || !set_up(call)) {
        curl_easy_cleanup(call->easy);
        free(call);
        return NULL;
    }
    return call;
}

static void put_idle_call(struct upstream_call *call)
{
    struct upstream *upstream = call->upstream;
    if (call->prev != NULL) {
        call->prev->next = call->next;
    } else {
        upstream->running = call->next;
    }
    if (call->next != NULL) {
        call->next->prev = call->prev;
    }
    call->state = CALL_IDLE;
    call->prev = NULL;
    call->next = upstream->idle;
    upstream->idle = call;
}

int upstream_post(struct upstream *upstream, const struct upstream_piece *pieces, size_t count,
                  size_t bytes, upstream_on_done *on_done, void *arg)
{
    struct upstream_call *call = take_idle_call(upstream);
    if (call == NULL) {
        return -ENOMEM;
    }
    call->pieces = pieces;
    call->count = count;
    call->piece = 0;
    call->piece_offset = 0;
    call->answer_bytes = 0;
    call->on_done = on_done;
    call->arg = arg;
    call->error[0] = '\0';
    call->outcome.retry_after_s = 0;
    call->outcome.body_bytes = 0;
    if (curl_easy_setopt(call->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)bytes) != CURLE_OK ||
        curl_multi_add_handle(upstream->multi, call->easy) != CURLM_OK) {
        call->next = upstream->idle;
        upstream->idle = call;
        return -ENOMEM;
    }
    call->state = CALL_RUNNING;
    call->prev = NULL;
    call->next = upstream->running;
    if (call->next != NULL) {
        call->next->prev = call;
    }
    upstream->running = call;
    upstream->started = true;
    return 0;
}

static enum outcome_kind kind_of(CURLcode code)
{
    /* Only what is known to have ended before a byte of the request was sent is unreachable. */
    if (code == CURLE_OK) {
        return OUTCOME_ANSWERED;
    }
    if (code == CURLE_OPERATION_TIMEDOUT) {
        return OUTCOME_TIMEOUT;
    }
    if (code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST ||
        code == CURLE_COULDNT_RESOLVE_PROXY || code == CURLE_SSL_CONNECT_ERROR ||
        code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CERTPROBLEM) {
        return OUTCOME_UNREACHABLE;
    }
    return OUTCOME_BROKEN;
}

static void note_outcome(struct upstream_call *call, CURLcode code)
{
    long status = 0;
    (void)curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
    struct outcome *outcome = &call->outcome;
    outcome->kind = kind_of(code);
    outcome->status = outcome->kind == OUTCOME_ANSWERED && status > 0 ? (unsigned)status : 0;
    if (outcome->kind == OUTCOME_ANSWERED && outcome->status == 0) {
        outcome->kind = OUTCOME_BROKEN;
    }
    outcome->detail[0] = '\0';
    if (outcome->kind != OUTCOME_ANSWERED) {
        const char *text = call->error[0] != '\0' ? call->error : curl_easy_strerror(code);
        size_t bytes = strnlen(text, sizeof(outcome->detail) - 1);
        memcpy(outcome->detail, text, bytes);
        outcome->detail[bytes] = '\0';
    }
    call->state = CALL_ENDED;
}

static void report(struct upstream_call *call)
{
    (void)curl_multi_remove_handle(call->upstream->multi, call->easy);
    call->on_done(call->arg, &call->outcome);
    put_idle_call(call);
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
        note_outcome(call, code);
        report(call);
    }
}

/* -- The phases ------------------------------------------------------------------------------- */

static void hand_over_events(struct upstream *upstream)
{
    struct upstream_socket *socket = upstream->ready;
    upstream->ready = NULL;
    while (socket != NULL) {
        struct upstream_socket *next = socket->next_ready;
        uint32_t events = socket->ready;
        socket->ready = 0;
        /* 0: closed meanwhile by what curl did for another socket of this turn. */
        if (events != 0) {
            int mask = ((events & (uint32_t)(EPOLLIN | EPOLLHUP)) != 0 ? CURL_CSELECT_IN : 0) |
                       ((events & (uint32_t)EPOLLOUT) != 0 ? CURL_CSELECT_OUT : 0) |
                       ((events & (uint32_t)EPOLLERR) != 0 ? CURL_CSELECT_ERR : 0);
            int running;
            (void)curl_multi_socket_action(upstream->multi, socket->fd, mask, &running);
        }
        socket = next;
    }
}

static void run_timer(struct upstream *upstream)
{
    int running;
    upstream->timer_us = LOOP_NEVER;
    (void)curl_multi_socket_action(upstream->multi, CURL_SOCKET_TIMEOUT, 0, &running);
}

void upstream_run(struct upstream *upstream)
{
    hand_over_events(upstream);
    if (upstream->timer_us != LOOP_NEVER && clock_now_us() >= upstream->timer_us) {
        run_timer(upstream);
    }
    report_ended(upstream);
}

void upstream_flush(struct upstream *upstream)
{
    if (upstream->started) {
        /* curl starts a new call from its timer. */
        upstream->started = false;
        run_timer(upstream);
        report_ended(upstream);
    }
    put_wishes_into_force(upstream);
}

uint64_t upstream_deadline_us(const struct upstream *upstream)
{
    return upstream->started ? 0 : upstream->timer_us;
}

void upstream_cancel(struct upstream *upstream)
{
    while (upstream->running != NULL) {
        struct upstream_call *call = upstream->running;
        call->outcome.kind = OUTCOME_CANCELLED;
        call->outcome.status = 0;
        call->outcome.detail[0] = '\0';
        call->state = CALL_ENDED;
        report(call);
    }
}

/* -- Life ------------------------------------------------------------------------------------- */

int upstream_library_init(void)
{
    return curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? 0 : -ENOMEM;
}

void upstream_library_deinit(void)
{
    curl_global_cleanup();
}

static bool start(struct upstream *upstream)
{
    const struct upstream_settings *settings = &upstream->settings;
    for (size_t i = 0; settings->write_headers[i] != NULL; i++) {
        struct curl_slist *longer =
            curl_slist_append(upstream->headers, settings->write_headers[i]);
        if (longer == NULL) {
            return false;
        }
        upstream->headers = longer;
    }
    upstream->multi = curl_multi_init();
    if (upstream->multi == NULL) {
        return false;
    }
    CURLM *multi = upstream->multi;
    return curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket_wish) == CURLM_OK &&
           curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, upstream) == CURLM_OK &&
           curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer_wish) == CURLM_OK &&
           curl_multi_setopt(multi, CURLMOPT_TIMERDATA, upstream) == CURLM_OK &&
           curl_multi_setopt(multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING) == CURLM_OK &&
           curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)settings->calls_max) == CURLM_OK;
}

struct upstream *upstream_new(const struct upstream_settings *settings, struct loop *loop)
{
    struct upstream *upstream = calloc(1, sizeof(*upstream));
    if (upstream != NULL) {
        upstream->settings = *settings;
        upstream->loop = loop;
        upstream->timer_us = LOOP_NEVER;
    }
    if (upstream == NULL || !start(upstream)) {
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
    while (upstream->running != NULL) {
        struct upstream_call *call = upstream->running;
        (void)curl_multi_remove_handle(upstream->multi, call->easy);
        put_idle_call(call);
    }
    while (upstream->idle != NULL) {
        struct upstream_call *call = upstream->idle;
        upstream->idle = call->next;
        curl_easy_cleanup(call->easy);
        free(call);
    }
    if (upstream->multi != NULL) {
        (void)curl_multi_cleanup(upstream->multi);
    }
    curl_slist_free_all(upstream->headers);
    while (upstream->sockets != NULL) {
        struct upstream_socket *socket = upstream->sockets;
        upstream->sockets = socket->next;
        free(socket);
    }
    free(upstream);
}
