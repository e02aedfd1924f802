/* The listener's TLS, users and headers: flags, and a file in the form of Prometheus' web
 * configuration. docs/web-config.md lists the fields. */
#ifndef AGENT_PROXY_CONFIG_WEB_CONFIG_H
#define AGENT_PROXY_CONFIG_WEB_CONFIG_H

#include "config/reader.h"

struct config;

/* Fill the listener's side. What was filled before an error stays its own. Errors: negative, and
 * one line in the reader's error. */
__attribute__((warn_unused_result)) int web_config_load(const struct config *config,
                                                        struct reader *reader,
                                                        struct material_listener *listener);

#endif
