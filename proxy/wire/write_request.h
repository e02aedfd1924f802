/* Scans a decoded prometheus.WriteRequest in place: checks it and counts what is in it.
 * It allocates nothing, and accepts exactly what protobuf-c accepts for proto/remote.proto, less
 * the limits named below. Source: proto/remote.proto, proto/types.proto; protobuf encoding. */
#ifndef AGENT_PROXY_WIRE_WRITE_REQUEST_H
#define AGENT_PROXY_WIRE_WRITE_REQUEST_H

#include "wire/snappy_block.h" /* struct wire_error */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct write_request_counts {
    uint64_t series;
    uint64_t samples;    /* float samples */
    uint64_t histograms; /* native histograms, integer and float */
    uint64_t exemplars;
    uint64_t metadata;
    bool joinable; /* no top-level field but timeseries and metadata: may be merged with others */
};

/* Scan a whole request. Errors: -EBADMSG and *error; counts is then untouched.
 * Limits: groups are refused (as protobuf-c does); a varint is at most 10 bytes. */
__attribute__((warn_unused_result)) int write_request_scan(const uint8_t *data, size_t bytes,
                                                           struct write_request_counts *counts,
                                                           struct wire_error *error);

#endif
