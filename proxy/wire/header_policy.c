/* Header rules of relayed reads. Pure; owns nothing. */
#include "wire/header_policy.h"

#include "wire/field.h"

#include <errno.h>

/* What a query needs to be understood and traced; everything else stays here, above all whatever
 * names a tenant or an origin. */
static const char *const up_allowed[] = {
    "Accept", "Accept-Encoding", "Content-Type", "Content-Encoding", "User-Agent", "traceparent",
};

static const char *const down_refused[] = {
    "Connection", "Keep-Alive",     "TE",   "Trailer", "Transfer-Encoding",
    "Upgrade",    "Content-Length", "Date",
};

static bool is_among(struct text name, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (text_is(name, list[i])) {
            return true;
        }
    }
    return false;
}

static bool is_proxy(struct text name)
{
    static const char prefix[] = "Proxy-";
    const size_t bytes = sizeof(prefix) - 1;
    return name.bytes >= bytes &&
           text_is((struct text){.start = name.start, .bytes = bytes}, prefix);
}

static bool is_listed(const struct header_policy *policy, struct text name)
{
    for (unsigned i = 0; i < policy->connections; i++) {
        struct text rest = {.start = policy->connection[i].value,
                            .bytes = policy->connection[i].bytes};
        struct text option;
        while (text_next(&rest, &option)) {
            if (text_equal(option, name)) {
                return true;
            }
        }
    }
    return false;
}

/* What holds both ways. */
static bool may_pass(const struct header_policy *policy, struct text name, struct text value)
{
    return field_name_valid(name) && field_value_valid(value) && !is_listed(policy, name);
}

void header_policy_init(struct header_policy *policy, bool forward_authorization)
{
    *policy = (struct header_policy){.forward_authorization = forward_authorization};
}

int header_policy_note(struct header_policy *policy, const char *name, size_t name_bytes,
                       const char *value, size_t value_bytes)
{
    if (!text_is((struct text){.start = name, .bytes = name_bytes}, "Connection")) {
        return 0;
    }
    if (policy->connections == HEADER_POLICY_CONNECTIONS_MAX ||
        value_bytes > HEADER_POLICY_CONNECTION_BYTES_MAX - policy->connection_bytes) {
        return -E2BIG;
    }
    policy->connection_bytes += value_bytes;
    policy->connection[policy->connections].value = value;
    policy->connection[policy->connections].bytes = value_bytes;
    policy->connections++;
    return 0;
}

bool header_policy_up(const struct header_policy *policy, const char *name, size_t name_bytes,
                      const char *value, size_t value_bytes)
{
    struct text field = {.start = name, .bytes = name_bytes};
    struct text content = {.start = value, .bytes = value_bytes};
    if (!may_pass(policy, field, content)) {
        return false;
    }
    return is_among(field, up_allowed, sizeof(up_allowed) / sizeof(up_allowed[0])) ||
           (policy->forward_authorization && text_is(field, "Authorization"));
}

bool header_policy_down(const struct header_policy *policy, const char *name, size_t name_bytes,
                        const char *value, size_t value_bytes)
{
    struct text field = {.start = name, .bytes = name_bytes};
    struct text content = {.start = value, .bytes = value_bytes};
    return may_pass(policy, field, content) && !is_proxy(field) &&
           !is_among(field, down_refused, sizeof(down_refused) / sizeof(down_refused[0]));
}
