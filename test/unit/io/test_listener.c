/* Listening sockets: addresses and ports. */
#include "io/listener.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "peer.h"

#include <stdio.h>
#include <string.h>

static bool has_ipv6(void)
{
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    bool bound = fd >= 0 && bind(fd, (const struct sockaddr *)&address, sizeof(address)) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return bound;
}

/* Open on a free port, and hold the port and the address against each other. */
static int open_free(const char *host, const char *shown, uint16_t *port)
{
    char address[LISTENER_ADDRESS_BYTES];
    int fd = listener_open(host, 0, address);
    assert_true(fd >= 0);
    *port = bound_port(fd);
    assert_int_not_equal(*port, 0);
    char expected[LISTENER_ADDRESS_BYTES];
    (void)snprintf(expected, sizeof(expected), "%s:%u", shown, (unsigned)*port);
    assert_string_equal(address, expected);
    return fd;
}

static void test_takes_connections(void **state)
{
    (void)state;
    uint16_t port;
    int fd = open_free("127.0.0.1", "127.0.0.1", &port);
    struct peer peer;
    peer_connect(&peer, port);
    int accepted = accept(fd, NULL, NULL);
    assert_true(accepted >= 0);
    close(accepted);
    peer_close(&peer);
    close(fd);
}

static void test_never_blocks_and_is_not_inherited(void **state)
{
    (void)state;
    uint16_t port;
    int fd = open_free("127.0.0.1", "127.0.0.1", &port);
    assert_int_equal(accept(fd, NULL, NULL), -1);
    assert_int_equal(errno, EAGAIN);
    assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    close(fd);
}

static void test_ipv6_is_shown_in_brackets(void **state)
{
    (void)state;
    if (!has_ipv6()) {
        skip();
    }
    uint16_t port;
    close(open_free("::1", "[::1]", &port));
}

static void test_no_host_and_0_0_0_0_are_every_address(void **state)
{
    (void)state;
    static const char *const hosts[] = {"", "0.0.0.0"};

    for (size_t i = 0; i < COUNT(hosts); i++) {
        uint16_t port;
        int fd = open_free(hosts[i], has_ipv6() ? "[::]" : "0.0.0.0", &port);
        struct peer peer;
        peer_connect(&peer, port); /* over IPv4, whatever the socket is */
        peer_close(&peer);
        close(fd);
    }
}

static void test_a_name_is_resolved(void **state)
{
    (void)state;
    char address[LISTENER_ADDRESS_BYTES];
    int fd = listener_open("localhost", 0, address);
    assert_true(fd >= 0);
    assert_int_not_equal(bound_port(fd), 0);
    close(fd);
}

static void test_the_port_asked_for_is_bound(void **state)
{
    (void)state;
    uint16_t port;
    char address[LISTENER_ADDRESS_BYTES];
    close(open_free("127.0.0.1", "127.0.0.1", &port));
    int fd = listener_open("127.0.0.1", port, address);
    assert_true(fd >= 0);
    assert_int_equal(bound_port(fd), port);
    close(fd);
}

/* A program that is restarted gets its port although old connections still linger on it. */
static void test_a_port_with_old_connections_is_free(void **state)
{
    (void)state;
    uint16_t port;
    char address[LISTENER_ADDRESS_BYTES];
    int fd = open_free("127.0.0.1", "127.0.0.1", &port);
    struct peer peer;
    peer_connect(&peer, port);
    int accepted = accept(fd, NULL, NULL);
    close(accepted); /* the side that closes first is the one that lingers */
    peer_close(&peer);
    close(fd);
    fd = listener_open("127.0.0.1", port, address);
    assert_true(fd >= 0);
    close(fd);
}

static void test_a_held_port_is_refused(void **state)
{
    (void)state;
    uint16_t port;
    char address[LISTENER_ADDRESS_BYTES] = "untouched";
    int fd = open_free("127.0.0.1", "127.0.0.1", &port);
    assert_int_equal(listener_open("127.0.0.1", port, address), -EADDRINUSE);
    assert_string_equal(address, "untouched");
    close(fd);
}

static void test_a_held_port_is_refused_on_every_address(void **state)
{
    (void)state;
    uint16_t port;
    char address[LISTENER_ADDRESS_BYTES];
    int fd = open_free("", has_ipv6() ? "[::]" : "0.0.0.0", &port);
    assert_int_equal(listener_open("", port, address), -EADDRINUSE);
    close(fd);
}

static void test_addresses_that_are_not_ours_are_refused(void **state)
{
    (void)state;
    /* Of a documentation range, not a name, not even the shape of one. */
    static const char *const hosts[] = {"192.0.2.1", "a..b", "[::1]"};

    for (size_t i = 0; i < COUNT(hosts); i++) {
        char address[LISTENER_ADDRESS_BYTES] = "untouched";
        assert_int_equal(listener_open(hosts[i], 0, address), -EADDRNOTAVAIL);
        assert_string_equal(address, "untouched");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_takes_connections),
        cmocka_unit_test(test_never_blocks_and_is_not_inherited),
        cmocka_unit_test(test_ipv6_is_shown_in_brackets),
        cmocka_unit_test(test_no_host_and_0_0_0_0_are_every_address),
        cmocka_unit_test(test_a_name_is_resolved),
        cmocka_unit_test(test_the_port_asked_for_is_bound),
        cmocka_unit_test(test_a_port_with_old_connections_is_free),
        cmocka_unit_test(test_a_held_port_is_refused),
        cmocka_unit_test(test_a_held_port_is_refused_on_every_address),
        cmocka_unit_test(test_addresses_that_are_not_ours_are_refused),
    };
    return cmocka_run_group_tests_name("io/listener", tests, NULL, NULL);
}
