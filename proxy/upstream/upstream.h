/* The HTTP client side of a worker: requests to the gateway over pooled connections. Only this
 * folder includes curl/curl.h.
 *
 * Two kinds of call: a write sends pieces and brings back an outcome; a read streams its answer
 * to callbacks. Calls are begun by upstream_write() and upstream_read(), go out in
 * upstream_flush(), and end in their on_done, which runs outside of the HTTP library and may begin
 * other calls. */
#ifndef AGENT_PROXY_UPSTREAM_UPSTREAM_H
#define AGENT_PROXY_UPSTREAM_UPSTREAM_H

#include "wire/route.h"
#include "wire/verdict.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct log;
struct loop;
struct metrics;
struct upstream;
struct upstream_call;

/* A piece of a body. Owner: lent until the call's on_done. */
struct upstream_piece {
    const uint8_t *data;
    size_t bytes;
};

/* Copied by upstream_new(). Headers are "Name: value" lines, NULL-terminated. */
struct upstream_settings {
    const struct log *log;
    struct metrics *metrics;
    const char *write_url; /* the same for every write */
    const char *const *write_headers;
    const char *read_url; /* scheme, host and port; a read brings its own target */
    uint64_t connect_timeout_us;
    uint64_t write_timeout_us;   /* of one attempt */
    uint64_t connection_age_us;  /* after which a connection is not used again */
    size_t connections_idle_max; /* kept open */
    size_t connections_max;      /* in all; 0: no limit */
};

/* Whom we are to the gateway, and whom we trust. PEM texts; NULL: not given.
 * Owner: lent to upstream_set_identity(), until the next one or upstream_free(). */
struct upstream_identity {
    const char *authorization; /* value of the header, where a read brings none of its own */
    const char *ca_pem;        /* NULL: the system's */
    const char *cert_pem;
    const char *key_pem;
    const char *server_name;  /* in the gateway's certificate; NULL: its host */
    const char *proxy_url;    /* NULL: none, whatever the environment says */
    uint64_t idle_timeout_us; /* of a pooled connection; 0: the default, which is short */
    bool tls_1_3_only;        /* else 1.2 will do */
    bool insecure_skip_verify;
};

/* How a call ended. outcome is valid for the duration of the callback. */
typedef void upstream_on_done(void *arg, const struct outcome *outcome);

/* GET url once and wait, at most 5 s: for --probe, in an image without a shell. Returns the status,
 * or 0 and the reason in error. Certificates are not verified: it asks the program beside it for a
 * yes or no. */
unsigned upstream_probe(const char *url, char *error, size_t error_bytes);

/* Make the HTTP library ready, once, before the first upstream and any thread. Errors: -ENOMEM. */
__attribute__((warn_unused_result)) int upstream_library_init(void);
void upstream_library_deinit(void);

/* Errors: NULL; the reason is logged. */
__attribute__((warn_unused_result)) struct upstream *
upstream_new(const struct upstream_settings *settings, struct loop *loop);

/* Every call that begins from now on uses this identity, over connections made with it; those under
 * way go on with theirs. */
void upstream_set_identity(struct upstream *upstream, const struct upstream_identity *identity);

/* Free it. Calls in flight are dropped without their on_done. */
void upstream_free(struct upstream *upstream);

/* Send pieces as the body of one POST to the write address. on_done is called exactly once, from
 * upstream_run(), upstream_flush() or upstream_cancel_writes(), never from here.
 * Shape: bytes is the sum of the pieces; count >= 1. pieces and what they point to are lent until
 * on_done. Errors: -ENOMEM; on_done is then not called. */
__attribute__((warn_unused_result)) int upstream_write(struct upstream *upstream,
                                                       const struct upstream_piece *pieces,
                                                       size_t count, size_t bytes,
                                                       upstream_on_done *on_done, void *arg);

/* A request whose answer streams back. The callbacks run inside the HTTP library: they record, and
 * call nothing of this header. on_header and on_head come for the final answer only. */
struct upstream_read {
    enum route_method method;   /* GET, HEAD or POST */
    const char *target;         /* of the request line, path and query as they are to be sent */
    const char *const *headers; /* lines, NULL-terminated */
    const uint8_t *body;        /* of a POST; lent until on_done */
    size_t body_bytes;
    void *arg;
    void (*on_header)(void *arg, const char *name, size_t name_bytes, const char *value,
                      size_t value_bytes);
    /* The head is whole. body_bytes: as declared, or UPSTREAM_BODY_UNKNOWN. */
    void (*on_head)(void *arg, unsigned status, uint64_t body_bytes);
    /* False: no room; the connection to the gateway is paused, and the same bytes are offered
     * again after upstream_resume(). */
    bool (*on_data)(void *arg, const uint8_t *data, size_t bytes);
    upstream_on_done *on_done;
};

#define UPSTREAM_BODY_UNKNOWN UINT64_MAX

/* Begin a read; read is copied, with its target and headers. Errors: NULL without memory; no
 * callback is then called. */
__attribute__((warn_unused_result)) struct upstream_call *
upstream_read(struct upstream *upstream, const struct upstream_read *read);

/* There is room again for a read whose on_data said no. Takes effect in upstream_flush(). */
void upstream_resume(struct upstream_call *call);

/* Drop a read: its connection is closed, no callback comes any more, call is gone. Not to be
 * called from a callback of upstream. */
void upstream_abort(struct upstream_call *call);

/* One phase: what the gateway sent is read, calls that ended are reported. */
void upstream_run(struct upstream *upstream);

/* One phase, last in the turn: new calls go out, and watches are set for the next wait. */
void upstream_flush(struct upstream *upstream);

/* When upstream_run() is due without an event. Units: [us] monotonic, or LOOP_NEVER. */
uint64_t upstream_deadline_us(const struct upstream *upstream);

/* End every write in flight with OUTCOME_CANCELLED. */
void upstream_cancel_writes(struct upstream *upstream);

#endif
