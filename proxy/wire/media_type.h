/* Which remote-write protocol a request speaks, by its Content-Type and Content-Encoding.
 * Source: Prometheus Remote-Write 1.0 and 2.0 specifications, "Protocol" (headers). */
#ifndef AGENT_PROXY_WIRE_MEDIA_TYPE_H
#define AGENT_PROXY_WIRE_MEDIA_TYPE_H

#include <stdbool.h>

enum media_type {
    MEDIA_TYPE_WRITE_1, /* application/x-protobuf, or with proto=prometheus.WriteRequest */
    MEDIA_TYPE_WRITE_2, /* proto=io.prometheus.write.v2.Request */
    MEDIA_TYPE_OTHER
};

/* Case-insensitive, blanks around ';' and '=' allowed, a quoted proto value too; other parameters
 * are passed over. NULL is MEDIA_TYPE_OTHER. */
enum media_type media_type_of(const char *content_type);

/* True for "snappy" in any case, and for a missing header: version 0.1.0 senders may omit it. */
bool media_type_is_snappy(const char *content_encoding);

#endif
