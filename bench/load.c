/* The senders of the load generator; see load.h. */
#include "bench/load.h"
#include "bench/bytes.h"
#include "bench/http.h"

#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define RECEIVE_BYTES 65536
#define PAUSE_US      10000 /* after a failure, so that a dead target is not hammered */
#define RETRY_WAIT_US 100000

enum sender_state { SENDER_REST, SENDER_CONNECTING, SENDER_TALKING, SENDER_PAUSE, SENDER_DONE };

/* One connection and the request that it is busy with. Owner: struct load. */
struct sender {
    struct load *load;
    enum sender_state state;
    struct source source;
    struct timer timer; /* REST: the next request is due; PAUSE: try again; else the timeout */
    struct http_reader reader;
    uint64_t index;
    uint64_t sequence; /* of the request under way, or the next one */
    uint64_t due_us;   /* when that should leave */
    bool failed;       /* the latest attempt had no answer */
    struct body body;
    struct bytes own_body; /* when it is unique */
    struct bytes head;
    size_t sent; /* [bytes] of head and body */
    char refusal[TALLY_REFUSAL_BYTES];
    size_t refusal_bytes;
};

struct load {
    struct load_settings settings;
    struct poller *poller;
    struct bodies *bodies;
    struct sender *senders;
    uint64_t busy; /* senders that are not DONE */
    bool stopping;
    uint64_t start_us;
    struct timer deadline;
    struct timer end;
    struct timer warm_up;
    struct tally tally;
    struct bytes head_start; /* of every request, up to the length's value */
    char receive[RECEIVE_BYTES];
};

static void sender_next(struct sender *sender);
static void sender_attempt(struct sender *sender);

static void sender_disconnect(struct sender *sender)
{
    poller_close(sender->load->poller, &sender->source);
    http_reader_reset(&sender->reader);
}

/* Its connection stays until the load is freed: closing it belongs to nothing that is measured. */
static void sender_done(struct sender *sender)
{
    assert(sender->state != SENDER_DONE);
    poller_unset(sender->load->poller, &sender->timer);
    sender->state = SENDER_DONE;
    sender->load->busy--;
}

/* Tell the acknowledgement log about a final answer; status 0 is none. */
static void write_ack(const struct sender *sender, unsigned status)
{
    const struct load *load = sender->load;
    if (load->settings.ack_fd < 0) {
        return;
    }
    char line[64];
    int bytes = snprintf(line, sizeof line, "%llu %llu %u\n",
                         (unsigned long long)(load->settings.bodies.sender_base + sender->index),
                         (unsigned long long)sender->body.sequence, status);
    if (bytes < 0 || write(load->settings.ack_fd, line, (size_t)bytes) != bytes) {
        bench_die("cannot write the acknowledgement log: %s", strerror(errno));
    }
}

/* The request under way has its final answer (status 0: none): go on to the next one. */
static void sender_finish(struct sender *sender, unsigned status)
{
    write_ack(sender, status);
    tally_end(&sender->load->tally, status, sender->body.samples, sender->due_us,
              poller_clock_us());
    sender->state = SENDER_REST;
    sender->sequence++;
    sender_next(sender);
}

/* An attempt came to nothing that is final: try again later, or give the request up. */
static void sender_retry(struct sender *sender, unsigned status, uint64_t wait_us)
{
    struct load *load = sender->load;
    uint64_t at_us = poller_clock_us() + wait_us;
    if (!load->settings.retry) {
        sender_finish(sender, status);
        return;
    }
    sender->state = SENDER_PAUSE;
    poller_set(load->poller, &sender->timer, at_us);
}

static void sender_fail(struct sender *sender, bool timeout)
{
    struct load *load = sender->load;
    *(timeout ? &load->tally.counts.timeouts : &load->tally.counts.connection_errors) += 1;
    sender->failed = true;
    sender_disconnect(sender);
    uint64_t limit_us = load->settings.retry_wait_us_max;
    sender_retry(sender, 0, RETRY_WAIT_US < limit_us ? RETRY_WAIT_US : limit_us);
}

static uint64_t retry_after_us(const struct sender *sender)
{
    struct http_span value;
    uint64_t wait_us = RETRY_WAIT_US;
    if (http_head_field(&sender->reader.head, "retry-after", &value) && value.bytes > 0 &&
        value.bytes < 6) {
        char text[8] = {0};
        memcpy(text, value.data, value.bytes);
        wait_us = strtoull(text, NULL, 10) * 1000000;
    }
    uint64_t limit_us = sender->load->settings.retry_wait_us_max;
    return wait_us < limit_us ? wait_us : limit_us;
}

static void sender_answered(struct sender *sender)
{
    struct load *load = sender->load;
    unsigned status = sender->reader.head.status;
    uint64_t wait_us = retry_after_us(sender);
    bool whole = sender->sent == sender->head.size + sender->body.bytes->size;
    sender->failed = false;
    tally_answer(&load->tally, status, sender->refusal, sender->refusal_bytes);
    if (!sender->reader.head.keep_alive || !whole) {
        sender_disconnect(sender);
    } else {
        http_reader_reset(&sender->reader);
    }
    if (status == 429 || status >= 500) {
        sender_retry(sender, status, wait_us);
    } else {
        sender_finish(sender, status);
    }
}

/* Read what has come. The answer to the request under way is handled, at most one each call. */
static void sender_receive(struct sender *sender)
{
    struct load *load = sender->load;
    ssize_t got = recv(sender->source.fd, load->receive, RECEIVE_BYTES, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (got <= 0 && got == 0 && http_reader_ends_by_close(&sender->reader)) {
        sender->reader.head.keep_alive = false;
        sender_answered(sender);
        return;
    }
    if (got <= 0 || sender->state != SENDER_TALKING) {
        if (sender->state == SENDER_TALKING) {
            sender_fail(sender, false);
        } else {
            sender_disconnect(sender); /* an idle connection that the other side gave up */
        }
        return;
    }
    struct http_span input = {load->receive, (size_t)got};
    struct http_span piece;
    for (;;) {
        enum http_event event = http_reader_next(&sender->reader, &input, &piece);
        if (event == HTTP_MORE) {
            return;
        }
        if (event == HTTP_BAD) {
            sender_fail(sender, false);
            return;
        }
        if (event == HTTP_HEAD) {
            sender->refusal_bytes = 0;
        } else if (event == HTTP_BODY) {
            size_t room = sizeof sender->refusal - sender->refusal_bytes;
            size_t kept = piece.bytes < room ? piece.bytes : room;
            memcpy(sender->refusal + sender->refusal_bytes, piece.data, kept);
            sender->refusal_bytes += kept;
        } else if (sender->reader.head.status < 200) {
            http_reader_reset(&sender->reader);
        } else {
            sender_answered(sender);
            return;
        }
    }
}

static void sender_send(struct sender *sender)
{
    struct load *load = sender->load;
    size_t head = sender->head.size;
    size_t total = head + sender->body.bytes->size;
    while (sender->sent < total) {
        struct iovec pieces[2];
        int count = 0;
        if (sender->sent < head) {
            pieces[count++] = (struct iovec){sender->head.data + sender->sent, head - sender->sent};
        }
        size_t body_sent = sender->sent > head ? sender->sent - head : 0;
        pieces[count++] = (struct iovec){sender->body.bytes->data + body_sent,
                                         sender->body.bytes->size - body_sent};
        ssize_t put = writev(sender->source.fd, pieces, count);
        if (put < 0 && errno == EAGAIN) {
            poller_watch(load->poller, &sender->source, EPOLLIN | EPOLLOUT);
            return;
        }
        if (put < 0 && errno != EINTR) {
            break; /* an answer may have come before the end; receiving tells */
        }
        sender->sent += put > 0 ? (size_t)put : 0;
    }
    poller_watch(load->poller, &sender->source, EPOLLIN);
}

static void on_ready(struct source *source, uint32_t events)
{
    struct sender *sender = source->context;
    if (sender->state == SENDER_CONNECTING) {
        int error = 0;
        socklen_t size = sizeof error;
        if (getsockopt(source->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0) {
            sender_fail(sender, false);
            return;
        }
        if ((events & EPOLLOUT) == 0) {
            return;
        }
        sender->state = SENDER_TALKING;
    }
    if ((events & EPOLLOUT) != 0 && sender->state == SENDER_TALKING) {
        sender_send(sender);
    }
    if ((events & ~(uint32_t)EPOLLOUT) != 0 && source->fd >= 0) {
        sender_receive(sender);
    }
}

static void sender_connect(struct sender *sender)
{
    struct load *load = sender->load;
    int one = 1;
    const struct sockaddr_in *address = &load->settings.url.address;
    load->tally.counts.connects++;
    sender->state = SENDER_CONNECTING;
    sender->source.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (sender->source.fd < 0 ||
        setsockopt(sender->source.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0) {
        bench_die("cannot open a socket: %s", strerror(errno));
    }
    if (connect(sender->source.fd, (const struct sockaddr *)address, sizeof *address) != 0 &&
        errno != EINPROGRESS) {
        sender_fail(sender, false);
        return;
    }
    poller_watch(load->poller, &sender->source, EPOLLIN | EPOLLOUT);
}

static void sender_attempt(struct sender *sender)
{
    struct load *load = sender->load;
    load->tally.counts.attempts++;
    load->tally.counts.bytes_sent += sender->body.bytes->size;
    sender->sent = 0;
    poller_set(load->poller, &sender->timer, poller_clock_us() + load->settings.timeout_us);
    if (sender->source.fd < 0) {
        sender_connect(sender);
        return;
    }
    sender->state = SENDER_TALKING;
    sender_send(sender);
}

static void sender_begin(struct sender *sender)
{
    struct load *load = sender->load;
    if (load->settings.rate <= 0) {
        sender->due_us = poller_clock_us();
    }
    sender->body = bodies_get(load->bodies, sender->index, sender->sequence, &sender->own_body);
    sender->head.size = 0;
    bytes_append(&sender->head, load->head_start.data, load->head_start.size);
    bytes_printf(&sender->head, "%zu\r\n\r\n", sender->body.bytes->size);
    sender_attempt(sender);
}

static uint64_t end_us(const struct load *load)
{
    return load->start_us + load->settings.warm_up_us + load->settings.duration_us;
}

/* Wait until the next request is due, or end. */
static void sender_next(struct sender *sender)
{
    struct load *load = sender->load;
    const struct load_settings *settings = &load->settings;
    uint64_t now_us = poller_clock_us();
    if (load->stopping || (settings->requests > 0 && sender->sequence >= settings->requests)) {
        sender_done(sender);
        return;
    }
    if (settings->rate > 0) {
        double request = (double)(sender->sequence * settings->bodies.senders + sender->index);
        sender->due_us = load->start_us + (uint64_t)(request * 1e6 / settings->rate);
    } else {
        sender->due_us = now_us;
    }
    if (settings->duration_us > 0 && sender->due_us >= end_us(load)) {
        sender_done(sender);
        return;
    }
    uint64_t earliest_us = sender->failed ? now_us + PAUSE_US : now_us;
    if (sender->due_us > now_us || sender->failed) {
        poller_set(load->poller, &sender->timer,
                   sender->due_us > earliest_us ? sender->due_us : earliest_us);
        return;
    }
    sender_begin(sender);
}

static void on_timer(struct timer *timer)
{
    struct sender *sender = timer->context;
    if (sender->state == SENDER_REST) {
        sender_begin(sender);
    } else if (sender->state == SENDER_PAUSE) {
        sender_attempt(sender);
    } else {
        sender_fail(sender, true);
    }
}

static void abandon(struct load *load)
{
    for (uint64_t i = 0; i < load->settings.bodies.senders; i++) {
        struct sender *sender = &load->senders[i];
        if (sender->state == SENDER_DONE) {
            continue;
        }
        if (sender->state != SENDER_REST) {
            write_ack(sender, 0);
            tally_end(&load->tally, 0, sender->body.samples, sender->due_us, poller_clock_us());
        }
        sender_done(sender);
    }
}

void load_stop(struct load *load)
{
    if (load->stopping) {
        abandon(load);
        return;
    }
    load->stopping = true;
    for (uint64_t i = 0; i < load->settings.bodies.senders; i++) {
        if (load->senders[i].state == SENDER_REST) {
            sender_done(&load->senders[i]);
        }
    }
}

static void on_deadline(struct timer *timer)
{
    struct load *load = timer->context;
    load->stopping = true;
    abandon(load);
}

static void on_end(struct timer *timer)
{
    struct load *load = timer->context;
    /* The last requests of a warm load are left out, as the first were counted that it had begun.
     */
    load->tally.closed = load->settings.warm_up_us > 0;
    if (!load->stopping) {
        load_stop(load);
    }
}

/* Count anew from here on. */
static void on_warm(struct timer *timer)
{
    struct load *load = timer->context;
    tally_restart(&load->tally, poller_clock_us());
}

static void prepare_head(struct load *load)
{
    const struct load_settings *settings = &load->settings;
    struct bytes *head = &load->head_start;
    bytes_printf(head,
                 "POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: agent-proxy-loadgen\r\n"
                 "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n"
                 "X-Prometheus-Remote-Write-Version: 0.1.0\r\n",
                 settings->url.path, settings->url.host);
    for (size_t i = 0; i < settings->headers.count; i++) {
        bytes_printf(head, "%s\r\n", settings->headers.values[i]);
    }
    bytes_printf(head, "Content-Length: ");
}

struct load *load_new(const struct load_settings *settings, struct poller *poller)
{
    struct load *load = bench_alloc(1, sizeof *load);
    load->settings = *settings;
    load->poller = poller;
    load->bodies = bodies_new(&settings->bodies);
    prepare_head(load);
    load->deadline = (struct timer){.on_expiry = on_deadline, .context = load};
    load->end = (struct timer){.on_expiry = on_end, .context = load};
    load->warm_up = (struct timer){.on_expiry = on_warm, .context = load};
    load->senders = bench_alloc(settings->bodies.senders, sizeof *load->senders);
    for (uint64_t i = 0; i < settings->bodies.senders; i++) {
        struct sender *sender = &load->senders[i];
        sender->load = load;
        sender->index = i;
        sender->source = (struct source){.fd = -1, .on_ready = on_ready, .context = sender};
        sender->timer = (struct timer){.on_expiry = on_timer, .context = sender};
        http_reader_init(&sender->reader, HTTP_ANSWER);
    }
    return load;
}

void load_free(struct load *load)
{
    for (uint64_t i = 0; i < load->settings.bodies.senders; i++) {
        sender_disconnect(&load->senders[i]);
        http_reader_deinit(&load->senders[i].reader);
        bytes_free(&load->senders[i].own_body);
        bytes_free(&load->senders[i].head);
    }
    poller_unset(load->poller, &load->deadline);
    poller_unset(load->poller, &load->end);
    poller_unset(load->poller, &load->warm_up);
    bodies_free(load->bodies);
    bytes_free(&load->head_start);
    free(load->senders);
    free(load);
}

void load_start(struct load *load)
{
    load->start_us = poller_clock_us();
    load->tally.from_us = load->start_us;
    load->busy = load->settings.bodies.senders;
    if (load->settings.deadline_us > 0) {
        poller_set(load->poller, &load->deadline, load->start_us + load->settings.deadline_us);
    }
    /* In an open loop all that is due before the end is sent, however late that may be. */
    if (load->settings.duration_us > 0 && load->settings.rate <= 0) {
        poller_set(load->poller, &load->end, end_us(load));
    }
    if (load->settings.warm_up_us > 0) {
        poller_set(load->poller, &load->warm_up, load->start_us + load->settings.warm_up_us);
    }
    for (uint64_t i = 0; i < load->settings.bodies.senders; i++) {
        sender_next(&load->senders[i]);
    }
}

bool load_is_done(const struct load *load)
{
    return load->busy == 0;
}

bool load_is_warm(const struct load *load)
{
    return load->settings.warm_up_us == 0 || load->tally.from_us > load->start_us;
}

const struct tally *load_tally(const struct load *load)
{
    return &load->tally;
}
