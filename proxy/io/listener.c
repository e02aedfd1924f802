/* The listening socket. Owns nothing: the descriptor is its caller's. */
#include "io/listener.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LISTENER_BACKLOG 1024

static int bind_one(const struct addrinfo *info)
{
    int fd = socket(info->ai_family, info->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -errno;
    }
    int on = 1;
    int off = 0;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (info->ai_family == AF_INET6) {
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    }
    if (bind(fd, info->ai_addr, info->ai_addrlen) != 0 || listen(fd, LISTENER_BACKLOG) != 0) {
        int error = -errno;
        close(fd);
        return error;
    }
    return fd;
}

static void print_address(int fd, char address[LISTENER_ADDRESS_BYTES])
{
    struct sockaddr_storage bound = {0};
    socklen_t bytes = sizeof(bound);
    char host[NI_MAXHOST];
    char port[NI_MAXSERV];
    if (getsockname(fd, (struct sockaddr *)&bound, &bytes) != 0 ||
        getnameinfo((struct sockaddr *)&bound, bytes, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        (void)snprintf(address, LISTENER_ADDRESS_BYTES, "unknown");
        return;
    }
    bool v6 = bound.ss_family == AF_INET6;
    (void)snprintf(address, LISTENER_ADDRESS_BYTES, "%s%.60s%s:%.8s", v6 ? "[" : "", host,
                   v6 ? "]" : "", port);
}

/* Also as Go's programs read it, whose settings say 0.0.0.0 and mean IPv6 as well. */
static bool every_address(const char *host)
{
    return host[0] == '\0' || strcmp(host, "0.0.0.0") == 0;
}

int listener_open(const char *host, uint16_t port, char address[LISTENER_ADDRESS_BYTES])
{
    bool every = every_address(host);
    char service[8];
    (void)snprintf(service, sizeof(service), "%u", (unsigned)port);
    struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
    struct addrinfo *infos = NULL;
    if (getaddrinfo(every ? NULL : host, service, &hints, &infos) != 0) {
        return -EADDRNOTAVAIL;
    }
    /* Every address is best one IPv6 socket that takes IPv4 too. */
    int fd = -EADDRNOTAVAIL;
    for (int pass = 0; pass < 2 && fd < 0 && fd != -EADDRINUSE; pass++) {
        for (struct addrinfo *i = infos; i != NULL && fd < 0 && fd != -EADDRINUSE; i = i->ai_next) {
            bool first = !every || i->ai_family == AF_INET6;
            if (first == (pass == 0)) {
                fd = bind_one(i);
            }
        }
    }
    freeaddrinfo(infos);
    if (fd >= 0) {
        print_address(fd, address);
    }
    return fd;
}
