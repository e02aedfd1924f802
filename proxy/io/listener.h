/* The listening socket: bound once, for all workers. */
#ifndef AGENT_PROXY_IO_LISTENER_H
#define AGENT_PROXY_IO_LISTENER_H

#include <stddef.h>
#include <stdint.h>

#define LISTENER_ADDRESS_BYTES 80 /* "[v6]:port" and its terminator */

/* Open a non-blocking listening socket on host and port.
 * host: a numeric address, a name, or "" or "0.0.0.0" for every address, of IPv6 too.
 * port 0: any free one.
 * address: the address bound, for the log.
 * Errors: -errno; -EADDRNOTAVAIL also for a name that does not resolve. */
__attribute__((warn_unused_result)) int listener_open(const char *host, uint16_t port,
                                                      char address[LISTENER_ADDRESS_BYTES]);

#endif
