/* Environment variables in a text. */
#ifndef AGENT_PROXY_CONFIG_EXPAND_H
#define AGENT_PROXY_CONFIG_EXPAND_H

#define EXPAND_ERROR_BYTES 160
#define EXPAND_BYTES_MAX   (64U * 1024U)

/* Replace ${NAME} and $(NAME) by the environment's value, once: what comes in is not looked at
 * again. "$${" and "$$(" stand for "${" and "$("; any other $ is itself.
 * Owner: the caller, with secret_free().
 * Errors: -EINVAL, and the reason in error: a variable that is not set, a name that is none, a
 * result above EXPAND_BYTES_MAX. No value is in it. */
__attribute__((warn_unused_result)) int expand_environment(const char *text, char **expanded,
                                                           char error[EXPAND_ERROR_BYTES]);

#endif
