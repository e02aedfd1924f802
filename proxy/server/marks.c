/* Marks of addresses: the last few that exchange_mark_sender() was told of, for connections that
 * come from them later. */
#include "server/private.h"

#include <string.h>

static bool is_of(const struct mark *mark, const struct in6_addr *address)
{
    return memcmp(&mark->address, address, sizeof(*address)) == 0;
}

void marks_put(struct server *server, const struct in6_addr *address, uint64_t until_us)
{
    struct mark *place = &server->marks[0];
    for (size_t i = 0; i < MARKS_MAX; i++) {
        struct mark *mark = &server->marks[i];
        if (is_of(mark, address)) {
            place = mark;
            break;
        }
        if (mark->until_us < place->until_us) {
            place = mark;
        }
    }
    *place = (struct mark){.address = *address, .until_us = until_us};
}

uint64_t marks_get(const struct server *server, const struct in6_addr *address)
{
    for (size_t i = 0; i < MARKS_MAX; i++) {
        if (is_of(&server->marks[i], address)) {
            return server->marks[i].until_us;
        }
    }
    return 0;
}
