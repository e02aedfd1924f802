/* The head of a write by plain HTTP: the same for every write of an identity but for the number of
 * Content-Length, at which it ends. A part of the upstream, for nobody else. */
#ifndef AGENT_PROXY_UPSTREAM_HEAD_H
#define AGENT_PROXY_UPSTREAM_HEAD_H

#include "base/buf.h"

struct upstream;

#define PLAIN_SCHEME "http://"

/* Owner: shared by who holds a reference: upstream_plain and each call under way. */
struct write_head {
    unsigned references;
    char *authorization; /* the line, which text has as well; NULL: none */
    struct buf text;
};

/* One reference is the caller's. Errors: NULL without memory. */
__attribute__((warn_unused_result)) struct write_head *
write_head_make(const struct upstream *upstream);

/* NULL is passed over. With the last reference it goes, and its credentials are wiped out. */
void write_head_release(struct write_head *head);

#endif
