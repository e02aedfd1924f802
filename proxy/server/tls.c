/* TLS of the listener: what libmicrohttpd leaves out. It runs GnuTLS, but does not check a client's
 * certificate, and does not say why a handshake failed. So each session gets callbacks of ours, in
 * which we see its messages, judge its certificate, and note the cause for one log line. */
#include "server/private.h"

#include "base/clock.h"
#include "base/metrics.h"

#include <arpa/inet.h>
#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#define LOG_INTERVAL_US (1000U * 1000U)

/* -- The socket, so that we know whose turn it is ---------------------------------------------- */

/* A client of OpenSSL that finds our certificate wanting says so in the clear, where GnuTLS expects
 * it encrypted and drops it. GnuTLS reads the 5 bytes of a record's head first, then the rest. */
static void look_for_alert(struct connection *connection, const uint8_t *data, size_t bytes)
{
    static const uint8_t head[] = {21, 3, 3, 0, 2};
    if (connection->tls_alert_next && bytes == 2) {
        connection->tls_alert = data[1];
    }
    connection->tls_alert_next = bytes == sizeof(head) && memcmp(data, head, sizeof(head)) == 0;
}

static ssize_t on_pull(gnutls_transport_ptr_t ptr, void *data, size_t bytes)
{
    struct connection *connection = ptr;
    connection->server->handshaking = connection;
    ssize_t got = recv(connection->fd, data, bytes, 0);
    if (got > 0) {
        connection->server->progress++;
        look_for_alert(connection, data, (size_t)got);
    }
    return got;
}

static ssize_t on_push(gnutls_transport_ptr_t ptr, const void *data, size_t bytes)
{
    const struct connection *connection = ptr;
    connection->server->progress++;
    return send(connection->fd, data, bytes, MSG_NOSIGNAL);
}

static int on_pull_timeout(gnutls_transport_ptr_t ptr, unsigned int ms)
{
    const struct connection *connection = ptr;
    struct pollfd fd = {.fd = connection->fd, .events = POLLIN};
    (void)ms; /* never wait: the loop does */
    return poll(&fd, 1, 0);
}

/* -- What we note ------------------------------------------------------------------------------ */

static struct connection *connection_of(gnutls_session_t session)
{
    /* libmicrohttpd's own connection is the session's pointer. */
    struct MHD_Connection *mhd = gnutls_session_get_ptr(session);
    return MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

static int on_message(gnutls_session_t session, unsigned type, unsigned when, unsigned incoming,
                      const gnutls_datum_t *message)
{
    (void)when;
    if (incoming == 0) {
        return 0;
    }
    struct connection *connection = connection_of(session);
    if (type == GNUTLS_HANDSHAKE_CLIENT_HELLO && message->size >= 2 &&
        (message->data[0] < 3 || (message->data[0] == 3 && message->data[1] < 3))) {
        connection->tls_fault = "the client offers TLS 1.1 at most; 1.2 or newer is needed";
    }
    /* An empty list of certificates: 3 bytes of length, and in TLS 1.3 one of context before. */
    if (type == GNUTLS_HANDSHAKE_CERTIFICATE_PKT && message->size <= 4) {
        connection->tls_fault = "the client has no certificate";
    }
    return 0;
}

static const char *fault_of(unsigned status)
{
    if ((status & GNUTLS_CERT_EXPIRED) != 0) {
        return "the client's certificate has expired";
    }
    if ((status & GNUTLS_CERT_NOT_ACTIVATED) != 0) {
        return "the client's certificate is not valid yet";
    }
    if ((status & GNUTLS_CERT_SIGNER_NOT_FOUND) != 0) {
        return "the client's certificate is signed by an unknown CA";
    }
    if ((status & GNUTLS_CERT_PURPOSE_MISMATCH) != 0) {
        return "the client's certificate is for other uses, not for clients";
    }
    if ((status & GNUTLS_CERT_INSECURE_ALGORITHM) != 0) {
        return "the client's certificate uses an insecure algorithm";
    }
    return "the client's certificate is not valid";
}

static int on_client_certificate(gnutls_session_t session)
{
    struct connection *connection = connection_of(session);
    const struct server_daemon *daemon = connection->daemon;
    if (!daemon->has_client_ca || daemon->client_auth == SERVER_CLIENT_AUTH_REQUIRE) {
        return 0;
    }
    unsigned count = 0;
    if (gnutls_certificate_get_peers(session, &count) == NULL &&
        daemon->client_auth == SERVER_CLIENT_AUTH_REQUEST) {
        return 0;
    }
    /* As Go does: a certificate that says what it is for, and not "clients", is none. */
    gnutls_typed_vdata_st purpose = {.type = GNUTLS_DT_KEY_PURPOSE_OID,
                                     .data = (unsigned char *)(uintptr_t)GNUTLS_KP_TLS_WWW_CLIENT};
    unsigned status = 0;
    if (gnutls_certificate_verify_peers(session, &purpose, 1, &status) < 0) {
        connection->tls_fault = "the client's certificate cannot be verified";
        return GNUTLS_E_CERTIFICATE_ERROR;
    }
    if (status != 0) {
        connection->tls_fault = fault_of(status);
        return GNUTLS_E_CERTIFICATE_ERROR;
    }
    return 0;
}

void tls_on_connection(struct connection *connection, struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    if (info == NULL) {
        return;
    }
    gnutls_session_t session = info->tls_session;
    connection->tls_session = session;
    connection->tls_alert = -1;
    gnutls_transport_set_ptr(session, connection);
    gnutls_transport_set_pull_function(session, on_pull);
    gnutls_transport_set_push_function(session, on_push);
    gnutls_transport_set_pull_timeout_function(session, on_pull_timeout);
    gnutls_handshake_set_hook_function(session, GNUTLS_HANDSHAKE_ANY, GNUTLS_HOOK_PRE, on_message);
    enum server_client_auth auth = connection->daemon->client_auth;
    gnutls_certificate_server_set_request(
        session, auth == SERVER_CLIENT_AUTH_NONE      ? GNUTLS_CERT_IGNORE
                 : auth == SERVER_CLIENT_AUTH_REQUEST ? GNUTLS_CERT_REQUEST
                                                      : GNUTLS_CERT_REQUIRE);
    if (auth != SERVER_CLIENT_AUTH_NONE) {
        gnutls_session_set_verify_function(session, on_client_certificate);
    }
}

/* -- What we say ------------------------------------------------------------------------------- */

/* Only what the peer itself told; an alert of 0 is "close notify", and also none at all. */
static const char *alert_of(const struct connection *connection)
{
    if (connection->tls_session == NULL) {
        return NULL;
    }
    gnutls_alert_description_t alert = connection->tls_alert >= 0
                                           ? (gnutls_alert_description_t)connection->tls_alert
                                           : gnutls_alert_get(connection->tls_session);
    return alert == GNUTLS_A_CLOSE_NOTIFY ? NULL : gnutls_alert_get_name(alert);
}

void tls_on_failure(struct server *server)
{
    struct connection *connection = server->handshaking;
    uint64_t held_back;
    metrics_add(server->settings.metrics, METRIC_TLS_FAILURES, 1);
    if (connection == NULL ||
        !log_gate_pass(&server->tls_gate, clock_now_us(), LOG_INTERVAL_US, &held_back)) {
        return;
    }
    char peer[INET6_ADDRSTRLEN] = "";
    (void)inet_ntop(AF_INET6, &connection->address, peer, sizeof(peer));
    const char *alert = alert_of(connection);
    const char *cause = connection->tls_fault != NULL ? connection->tls_fault
                        : alert != NULL               ? "the client refuses the connection"
                                        : "the client went, or what it sent was not TLS";
    log_warn(server->settings.log, "tls handshake failed", log_str("cause", cause),
             log_str("alert", alert), log_str("peer", peer), log_u64("held_back", held_back));
}
