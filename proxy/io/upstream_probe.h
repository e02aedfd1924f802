/* Ask one address once, and wait: for --probe, in an image without a shell or curl. */
#ifndef AGENT_PROXY_IO_UPSTREAM_PROBE_H
#define AGENT_PROXY_IO_UPSTREAM_PROBE_H

#include <stddef.h>

/* GET url, at most 5 s. Returns the status, or 0 and the reason in error. Certificates are not
 * verified: it asks the program beside it, for a yes or no. */
unsigned upstream_probe(const char *url, char *error, size_t error_bytes);

#endif
