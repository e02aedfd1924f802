/* Which route a raw request path takes. Matched on the undecoded path, exactly: what is not in the
 * table is never forwarded. */
#ifndef AGENT_PROXY_WIRE_ROUTE_H
#define AGENT_PROXY_WIRE_ROUTE_H

#include <stddef.h>

enum route_id {
    ROUTE_NONE,     /* 404 */
    ROUTE_BAD_PATH, /* 400: an encoded separator or dot, "..", "//", a backslash, NUL, ... */
    ROUTE_WRITE,
    ROUTE_METRICS,
    ROUTE_HEALTHY,
    ROUTE_READY,
    ROUTE_STATUS,      /* a page for people */
    ROUTE_STATUS_JSON, /* what it shows */
    ROUTE_READ_QUERY,
    ROUTE_READ_QUERY_RANGE,
    ROUTE_READ_SERIES,
    ROUTE_READ_LABELS,
    ROUTE_READ_LABEL_VALUES,
    ROUTE_READ_QUERY_EXEMPLARS,
    ROUTE_READ_FORMAT_QUERY,
    ROUTE_READ_PARSE_QUERY,
    ROUTE_READ_RULES,
    ROUTE_READ_ALERTS,
    ROUTE_READ_METADATA,
    ROUTE_READ_TARGETS,
    ROUTE_READ_TARGETS_METADATA,
    ROUTE_READ_BUILDINFO,
    ROUTE_OTLP, /* POST, relayed as it comes */
    ROUTE_COUNT
};

enum route_method { /* bits */
                    ROUTE_METHOD_GET = 1,
                    ROUTE_METHOD_HEAD = 2,
                    ROUTE_METHOD_POST = 4,
                    ROUTE_METHOD_OTHER = 8
};

struct route {
    enum route_id id;
    unsigned methods;  /* set of enum route_method that the route takes */
    const char *allow; /* the value of an Allow header, "GET, HEAD, POST" */
    const char *name;  /* for metrics and logs: "write", "query", ...; "" for none */
};

/* Match a raw request target without its query: bytes from the request line up to '?' .
 * Always returns an entry of a constant table. */
const struct route *route_match(const char *path, size_t bytes);

/* The bit for a method's name; ROUTE_METHOD_OTHER for one that no route takes. Case-sensitive. */
enum route_method route_method_of(const char *method);

#endif
