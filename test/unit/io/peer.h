/* The far end of a connection, for the tests of io: a raw socket on loopback that never blocks, so
 * that one thread can play both sides. It reads HTTP messages whole. */
#ifndef AGENT_PROXY_TEST_PEER_H
#define AGENT_PROXY_TEST_PEER_H

#include "../wire/generate.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define PATIENCE_US (20U * 1000U * 1000U) /* after which a test that waits has failed */
#define TURN_US     2000U                 /* the longest wait of one turn */

/* Owner: the test, which ends it with peer_close(). */
struct peer {
    struct bytes in; /* what came, message after message */
    size_t taken;    /* [bytes] of in that were taken as messages */
    int fd;
    bool ended; /* the other side has closed, or reset, the connection */
};

/* One HTTP message. Owner: lent until the peer's next call. */
struct message {
    const char *head; /* with the empty line at its end */
    size_t head_bytes;
    const uint8_t *body;
    size_t body_bytes;
};

static inline void peer_adopt(struct peer *peer, int fd)
{
    *peer = (struct peer){.fd = fd};
    if (fd < 0 || fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) != 0) {
        abort();
    }
}

/* Connect to a port of this machine. The kernel completes it without the other side's help. */
static inline void peer_connect(struct peer *peer, uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(port),
                                  .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
        abort();
    }
    peer_adopt(peer, fd);
}

/* The same, from another address of this machine. */
static inline void peer_connect_from(struct peer *peer, const char *address, uint16_t port)
{
    struct sockaddr_in from = {.sin_family = AF_INET};
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(port),
                             .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(inet_pton(AF_INET, address, &from.sin_addr), 1);
    assert_int_equal(bind(fd, (const struct sockaddr *)&from, sizeof(from)), 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof(to)), 0);
    peer_adopt(peer, fd);
}

static inline void peer_close(struct peer *peer)
{
    if (peer->fd >= 0) {
        close(peer->fd);
    }
    bytes_free(&peer->in);
    peer->fd = -1;
}

/* Close so that the other side sees a reset. */
static inline void peer_reset(struct peer *peer)
{
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    peer_close(peer);
}

/* The port that a listening socket is bound to. */
static inline uint16_t bound_port(int fd)
{
    struct sockaddr_storage bound = {0}; /* the port stands at the same place, v4 or v6 */
    socklen_t bytes = sizeof(bound);
    if (getsockname(fd, (struct sockaddr *)&bound, &bytes) != 0) {
        abort();
    }
    return ntohs(((const struct sockaddr_in *)(const void *)&bound)->sin_port);
}

/* Send what the kernel takes now. Returns how much that was. */
static inline size_t peer_send_some(struct peer *peer, const void *data, size_t bytes)
{
    ssize_t sent = send(peer->fd, data, bytes, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        peer->ended = true;
    }
    return sent > 0 ? (size_t)sent : 0;
}

/* [bytes] sent that the other side's kernel has not acknowledged: those that wait, too. */
static inline size_t peer_unacknowledged(const struct peer *peer)
{
    int bytes = 0;
    assert_int_equal(ioctl(peer->fd, SIOCOUTQ, &bytes), 0);
    return (size_t)bytes;
}

/* Receive up to bytes of what is there. */
static inline void peer_receive_some(struct peer *peer, size_t bytes)
{
    uint8_t data[64 * 1024];
    while (!peer->ended && bytes > 0) {
        ssize_t got = recv(peer->fd, data, bytes < sizeof(data) ? bytes : sizeof(data), 0);
        if (got > 0) {
            put(&peer->in, data, (size_t)got);
            bytes -= (size_t)got;
            continue;
        }
        if (got == 0 || errno != EAGAIN) {
            peer->ended = true;
        }
        return;
    }
}

static inline void peer_receive(struct peer *peer)
{
    peer_receive_some(peer, SIZE_MAX);
}

/* [bytes] that came and belong to no message that was taken. */
static inline size_t peer_unread(const struct peer *peer)
{
    return peer->in.size - peer->taken;
}

/* Copy a header's value into out, without blanks around it. NULL when there is none. */
static inline const char *message_header(const struct message *message, const char *name, char *out,
                                         size_t room)
{
    const char *at = message->head;
    const char *end = message->head + message->head_bytes;
    size_t name_bytes = strlen(name);
    while ((at = memchr(at, '\n', (size_t)(end - at))) != NULL && ++at < end) {
        if ((size_t)(end - at) > name_bytes && strncasecmp(at, name, name_bytes) == 0 &&
            at[name_bytes] == ':') {
            at += name_bytes + 1;
            at += strspn(at, " ");
            size_t bytes = strcspn(at, "\r");
            if (bytes >= room) {
                abort();
            }
            memcpy(out, at, bytes);
            out[bytes] = '\0';
            return out;
        }
    }
    return NULL;
}

/* The status of a response; 0 for what is none. */
static inline unsigned message_status(const struct message *message)
{
    static const char before[] = "HTTP/1.1 ";
    const size_t bytes = sizeof(before) - 1;
    return message->head_bytes > bytes && memcmp(message->head, before, bytes) == 0
               ? (unsigned)strtoul(message->head + bytes, NULL, 10)
               : 0;
}

/* Take the next message once it is whole. bodyless: whatever its length says (an answer to HEAD).
 */
static inline bool peer_take(struct peer *peer, bool bodyless, struct message *message)
{
    if (peer_unread(peer) == 0) {
        return false;
    }
    const char *start = (const char *)peer->in.data + peer->taken;
    const char *end = memmem(start, peer_unread(peer), "\r\n\r\n", 4);
    if (end == NULL) {
        return false;
    }
    struct message whole = {.head = start, .head_bytes = (size_t)(end - start) + 4};
    char text[32];
    const char *length = message_header(&whole, "Content-Length", text, sizeof(text));
    whole.body = (const uint8_t *)start + whole.head_bytes;
    whole.body_bytes = length == NULL || bodyless ? 0 : strtoul(length, NULL, 10);
    if (whole.head_bytes + whole.body_bytes > peer_unread(peer)) {
        return false;
    }
    peer->taken += whole.head_bytes + whole.body_bytes;
    *message = whole;
    return true;
}

#endif
