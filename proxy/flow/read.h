/* One relayed read: a client's query, the gateway's answer, and the bounded window between them.
 *
 *   client --form--> body | target, headers --> gateway
 *   client <-- window (at most --reads.window-bytes) <-- gateway, paused while it is full
 *
 * Owner: the exchange, from its headers to its end. */
#ifndef AGENT_PROXY_FLOW_READ_H
#define AGENT_PROXY_FLOW_READ_H

#include "base/buf.h"
#include "flow/body_charge.h"
#include "upstream/upstream.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct exchange;
struct flow_context;
struct read;

/* What all reads of a worker have in common. Owner: reads; constant. */
struct read_gateway {
    const struct flow_context *context;
    struct upstream *upstream;
    const char *prefix;                 /* of every target: base path and tenant, or "" */
    const char *tenant_line;            /* header line that carries the tenant */
    void (*on_news)(struct read *read); /* the gateway said something; records, does not act */
    void *owner;
};

enum read_state {
    READ_RECEIVING, /* the form comes in */
    READ_QUEUED,    /* whole; waits for a slot */
    READ_ASKED,     /* at the gateway; nothing said to the client yet */
    READ_STREAMING, /* the client's reply has begun */
    READ_ANSWERED   /* the reply is complete as far as we are concerned */
};

struct read {
    const struct read_gateway *gateway;
    struct exchange *exchange;
    struct upstream_call *call; /* NULL before and after the gateway works on it */
    struct read_list *list;     /* the queue or those under way; NULL: neither */
    struct read *prev, *next;   /* in it */
    struct read *next_dirty;
    enum read_state state;
    bool holds_slot; /* counts as one at the gateway */
    bool dirty;      /* the gateway said something that the client has not been told */
    bool has_head;   /* status and headers of the answer are whole */
    bool ended;      /* the gateway is done; outcome says how */
    bool paused;     /* the window was full */
    bool unfit;      /* the answer cannot be passed on: no memory, or a head beyond all bounds */
    enum route_method method; /* towards the gateway */
    struct buf body;          /* of the request */
    struct buf target;        /* with its NUL */
    struct buf lines;         /* "Name: value\0" of each header of the request */
    size_t line_count;
    struct body_charge charge; /* of body */
    size_t charged_bytes;      /* to the budget besides: for the window, without a slot */
    unsigned status;
    uint64_t answer_bytes; /* declared, or UPSTREAM_BODY_UNKNOWN */
    struct buf head;       /* "name\0value\0" of each header of the answer */
    size_t header_count;
    struct buf window;
    size_t window_taken; /* [bytes] of the window that went to the client */
    enum outcome_kind outcome;
    uint64_t started_us;
    uint64_t deadline_us; /* of silence: pushed on by each sign of life */
};

/* Note what is to be asked, while the client's headers can be seen: target, header lines, and the
 * form where it goes into the target. Errors: -EBADMSG for a query or header that cannot be passed
 * on, -EMSGSIZE for one too long, -ENOMEM. */
__attribute__((warn_unused_result)) int read_prepare(struct read *read);

/* Ask the gateway. Errors: -ENOMEM. */
__attribute__((warn_unused_result)) int read_ask(struct read *read);

/* Put up to room bytes of the answer into out. Returns as server_handler.on_wanted does. */
ptrdiff_t read_take(struct read *read, uint8_t *out, size_t room);

/* Free what it holds. The call must have ended or been aborted. */
void read_deinit(struct read *read);

/* Reply with an error in the form of Prometheus' HTTP API. */
void read_reply_error(struct read *read, unsigned status, const char *type, const char *text);

/* Reply with what the gateway said: at once where it is whole, else as a stream. */
void read_reply(struct read *read);

/* [bytes] of the window that wait for the client. */
size_t read_window_used(const struct read *read);

#endif
