/* The descriptors that curl watches, put to the kernel once a turn.
 *
 * curl drops its watch when a transfer ends and sets it again for the next one on the same
 * connection. The wish is only noted; at the end of the turn most have come back to what they
 * were, and no system call is made. A part of the upstream, for nobody else. */
#ifndef AGENT_PROXY_UPSTREAM_SOCKETS_H
#define AGENT_PROXY_UPSTREAM_SOCKETS_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>

struct loop;
struct upstream_socket;

/* Owner: embedded in struct upstream; stays where it is. */
struct upstream_sockets {
    struct loop *loop;
    CURLM *multi;
    struct upstream_socket *all;
    struct upstream_connection *open;
    struct upstream_socket *ready; /* with events that curl has not seen */
    size_t bulk_bytes;             /* of answers to reads, in this turn; counted by read.c */
};

/* Take over the watches of multi. Errors: -ENOMEM. */
__attribute__((warn_unused_result)) int upstream_sockets_init(struct upstream_sockets *sockets,
                                                              CURLM *multi, struct loop *loop);

/* Forget all, after multi has been cleaned up. */
void upstream_sockets_deinit(struct upstream_sockets *sockets);

/* Hand the events of this turn to curl; those of reads up to a bound, so that writes need not wait
 * for all of them. Errors: -ENOMEM when curl failed at one of them; it has then not seen the rest.
 */
__attribute__((warn_unused_result)) int upstream_sockets_run(struct upstream_sockets *sockets);

/* Whether curl wants anything of the descriptor fd. */
bool upstream_sockets_wanted(const struct upstream_sockets *sockets, curl_socket_t fd);

/* Put curl's wishes into force. */
void upstream_sockets_flush(struct upstream_sockets *sockets);

/* CURLOPT_OPENSOCKETFUNCTION and CURLOPT_CLOSESOCKETFUNCTION of every transfer; arg is the struct
 * upstream_sockets. The kernel forgets a descriptor that is closed; so must we, before its number
 * comes again. */
curl_socket_t upstream_sockets_on_open(void *arg, curlsocktype purpose,
                                       struct curl_sockaddr *address);
int upstream_sockets_on_close(void *arg, curl_socket_t fd);

/* curl lets go of a descriptor that stays open: no longer watch it. */
void upstream_sockets_forget(struct upstream_sockets *sockets, int fd);

/* True when the connection between these ports has something to read, or has ended, though no
 * request is on it: an answer to nothing (a late 408, say) that would be taken for the answer to
 * the next request. It is then shut down, so that curl finds it dead. */
bool upstream_sockets_spoil_stale(struct upstream_sockets *sockets, int local_port,
                                  int remote_port);

#endif
