/* The client of the gateway: its flags, and --gateway.config or --gateway.config-file in the form
 * of the Go agent-proxy's HTTP client. docs/gateway-config.md lists the fields. */
#ifndef AGENT_PROXY_CONFIG_GATEWAY_CONFIG_H
#define AGENT_PROXY_CONFIG_GATEWAY_CONFIG_H

#include "config/reader.h"

struct config;

/* Fill the gateway's side. What was filled before an error stays its own. Errors: negative, and one
 * line in the reader's error. */
__attribute__((warn_unused_result)) int gateway_config_load(const struct config *config,
                                                            struct reader *reader,
                                                            struct material_gateway *gateway);

#endif
