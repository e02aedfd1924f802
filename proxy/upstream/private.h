/* What the files of the upstream share: upstream.c (life, phases, calls of libcurl in general),
 * write.c and read.c (the two kinds of call), plain.c, head.c and pool.c (writes without libcurl,
 * their heads and connections), sockets.c (those of libcurl), identity.c (how all of them reach the
 * gateway); probe.c stands alone. For nobody else. */
#ifndef AGENT_PROXY_UPSTREAM_PRIVATE_H
#define AGENT_PROXY_UPSTREAM_PRIVATE_H

#include "upstream/plain.h"
#include "upstream/pool.h"
#include "upstream/sockets.h"
#include "upstream/upstream.h"
#include "wire/field.h"

#include <curl/curl.h>

#define UPSTREAM_IDLE_S 30U /* below the idle timeout of any gateway that we know */

enum call_kind {
    CALL_WRITE,
    CALL_READ,
    CALL_CONNECT, /* of the pool: ends with a connection, and asks for nothing on it */
    CALL_KINDS
};

/* One request at the gateway. Owner: upstream; kept and used again, with its curl handle. */
struct upstream_call {
    struct upstream_call *next; /* idle or running */
    struct upstream_call *prev; /* running */
    struct upstream *upstream;
    CURL *easy;
    enum call_kind kind;
    unsigned generation;           /* of the identity that it was set up with */
    struct curl_slist *connect_to; /* with a server name: where its connections really go */
    char *host_line;               /* and what the Host header says; else NULL */
    upstream_on_done *on_done;
    void *arg;
    struct outcome outcome;
    char error[CURL_ERROR_SIZE];
    struct curl_slist *headers; /* of a write: kept; of a read: its own, in header_block */
    void *header_block;
    /* a write */
    const struct upstream_piece *pieces;
    size_t count;
    size_t piece;        /* being sent */
    size_t piece_offset; /* [bytes] of it that were sent */
    uint64_t request_bytes;
    bool head_whole;     /* of the last answer, interim ones too */
    size_t answer_bytes; /* its heads among them */
    /* a read */
    struct upstream_read read;
    unsigned status; /* of the head that is coming in; 0 once it is whole */
    uint64_t body_bytes;
    bool resume;
    /* a connection */
    int fd; /* as claimed */
    /* any */
    bool stale; /* ended before it was sent, for the state of its connection */
    unsigned attempts;
};

struct upstream {
    struct upstream_settings settings; /* its strings are copied below */
    char *write_url;
    char *read_url;
    struct curl_slist *write_headers;
    struct upstream_identity identity; /* strings are lent */
    unsigned generation;               /* of identity */
    struct loop *loop;
    CURLM *multi; /* NULL while there is no memory for one */
    struct upstream_sockets sockets;
    struct upstream_call *running;
    struct upstream_call *idle[CALL_KINDS];
    struct upstream_plain plain;
    struct upstream_pool pool;
    uint64_t timer_us; /* curl's own; LOOP_NEVER: none */
    bool started;      /* calls were added since curl was last run */
    bool resumes;      /* of some call */
    bool failed;       /* curl did, and is to be started over */
};

/* Set an option of the handle easy, as long as ok holds. */
#define UPSTREAM_SET(option, value) ok = ok && curl_easy_setopt(easy, (option), (value)) == CURLE_OK

/* -- upstream.c -------------------------------------------------------------------------------- */

/* A call with its handle set up for its kind, idle. Errors: NULL without memory. */
struct upstream_call *call_take(struct upstream *upstream, enum call_kind kind);

/* An idle call goes back. */
void call_put(struct upstream_call *call);

/* Hand an idle call to curl. Errors: -ENOMEM; it is then still idle. */
int call_start(struct upstream_call *call, upstream_on_done *on_done, void *arg);

/* Take a header line of an answer apart. False for a status line and the empty line at the end. */
bool call_split_line(const char *line, size_t bytes, struct text *name, struct text *value);

/* Add a line to a list. Errors: -ENOMEM; the list is then as it was. */
int call_add_line(struct curl_slist **lines, const char *line);
int call_add_authorization(struct curl_slist **lines, const char *value);

/* -- identity.c: options that come of the identity --------------------------------------------- */

/* Blot out what we authorized ourselves with, should the gateway repeat it in its answer. line: of
 * the request's head; one that is no Authorization is passed over. */
void outcome_hide_credential(struct outcome *outcome, const char *line);
void call_hide_credentials(struct upstream_call *call);

/* Say what an error text of curl that tells little means. */
const char *call_explain(const char *error);

/* Set up the address of a call, as the identity has it reached. Errors: false without memory. */
bool call_set_up_identity(struct upstream_call *call, const char *url);

/* -- write.c, read.c, pool.c: options of every call of the kind -------------------------------- */

bool call_set_up_write(struct upstream_call *call);
bool call_set_up_read(struct upstream_call *call);
bool call_set_up_connect(struct upstream_call *call);

/* CURLOPT_CLOSESOCKETFUNCTION of the pool; arg is the upstream. */
int pool_on_close(void *arg, curl_socket_t fd);

/* Whether the answer to a write refuses, and was cut off beyond all bounds: it counts, as in
 * wire/answer. */
bool call_write_refused_at_length(const struct upstream_call *call, long status);

/* Why the answer to a write counts for nothing although curl says that it is whole; NULL when it
 * counts. */
const char *call_write_flaw(const struct upstream_call *call, long status);

#endif
