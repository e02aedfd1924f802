/* Hosts, ports, paths and base URLs, checked so strictly that they can be put into a request as
 * they are. */
#ifndef AGENT_PROXY_CONFIG_ADDRESS_H
#define AGENT_PROXY_CONFIG_ADDRESS_H

#include <stdint.h>

struct config_url;

/* Where to listen. */
struct address_listen {
    char *host; /* without brackets; "" is every address. Owner: who asked for it, with free() */
    uint16_t port;
};

/* Each function returns NULL, or why the text is refused, to follow it in a message; nothing is
 * then written. */

/* Take an http or https base URL apart. Scheme and host become lower case, final slashes are
 * dropped. Owner: the caller frees url->text.
 * Source: RFC 3986 section 3, without user, query and fragment. */
const char *address_parse_url(const char *text, struct config_url *url);

/* Take "host:port", "[v6]:port" or ":port" apart; port 0 is allowed. */
const char *address_parse_listen(const char *text, struct address_listen *listen);

/* Check an absolute path: letters, digits and - . _ ~ in segments that are not "", "." or ".."
 * (a last slash is allowed). */
const char *address_check_path(const char *text);

#endif
