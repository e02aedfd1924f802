/* The charge of a body. Owns nothing: the struct is its user's. */
#include "flow/body_charge.h"

#include "base/budget.h"
#include "flow/context.h"

#include <stdbool.h>

#define LARGE_PART  64U /* of the budget: a body of more is a large one */
#define FIRST_BYTES (16U * 1024U)

/* A large one counts as such with all that it has been charged. */
static bool take_large(struct body_charge *charge, const struct flow_context *context, size_t bytes)
{
    if (bytes <= context->budget->limit / LARGE_PART) {
        return true;
    }
    if (!budget_take(context->large_bodies, bytes - charge->large_bytes)) {
        return false;
    }
    charge->large_bytes = bytes;
    return true;
}

const char *body_charge_take(struct body_charge *charge, const struct flow_context *context,
                             size_t bytes)
{
    if (!budget_take(context->budget, bytes)) {
        return "the proxy holds as many bytes as it may";
    }
    if (!take_large(charge, context, charge->bytes + bytes)) {
        budget_give(context->budget, bytes);
        return "the proxy holds as many bytes of large bodies as it may";
    }
    charge->bytes += bytes;
    return NULL;
}

const char *body_charge_grow(struct body_charge *charge, const struct flow_context *context,
                             size_t size, size_t size_max)
{
    if (size <= charge->bytes) {
        return NULL;
    }
    size_t wanted = charge->bytes > 0 ? 2 * charge->bytes : FIRST_BYTES;
    wanted = wanted > size ? wanted : size;
    wanted = wanted < size_max ? wanted : size_max;
    return body_charge_take(charge, context, wanted - charge->bytes);
}

void body_charge_is_whole(struct body_charge *charge, const struct flow_context *context)
{
    if (charge->large_bytes > 0) {
        budget_give(context->large_bodies, charge->large_bytes);
        charge->large_bytes = 0;
    }
}

void body_charge_give(struct body_charge *charge, const struct flow_context *context)
{
    body_charge_is_whole(charge, context);
    budget_give(context->budget, charge->bytes);
    charge->bytes = 0;
}
