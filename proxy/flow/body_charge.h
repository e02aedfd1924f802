/* What the body of one request has been charged to the memory budget: before it is read, by its
 * declared length or in steps as it grows. A length is soon declared, so large bodies may hold but
 * a part of the budget until they are whole. */
#ifndef AGENT_PROXY_FLOW_BODY_CHARGE_H
#define AGENT_PROXY_FLOW_BODY_CHARGE_H

#include <stddef.h>

struct flow_context;

/* Owner: the request, until body_charge_give(). All zero: nothing is charged. */
struct body_charge {
    size_t bytes;       /* of the budget */
    size_t large_bytes; /* of them, among large bodies on their way in */
};

/* Charge bytes more. Returns NULL, or why they do not fit, in words for the sender; nothing more is
 * then charged. */
__attribute__((warn_unused_result)) const char *
body_charge_take(struct body_charge *charge, const struct flow_context *context, size_t bytes);

/* The same for a body that has come to size bytes and may come to size_max: nothing while that is
 * charged already, else in steps that double, as its buffer does. */
__attribute__((warn_unused_result)) const char *body_charge_grow(struct body_charge *charge,
                                                                 const struct flow_context *context,
                                                                 size_t size, size_t size_max);

/* The body is whole: it counts among the large ones no more. */
void body_charge_is_whole(struct body_charge *charge, const struct flow_context *context);

/* Give back all. */
void body_charge_give(struct body_charge *charge, const struct flow_context *context);

#endif
