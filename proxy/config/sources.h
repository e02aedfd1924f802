/* Settings from the environment and from a file of flags. */
#ifndef AGENT_PROXY_CONFIG_SOURCES_H
#define AGENT_PROXY_CONFIG_SOURCES_H

#include "config/config.h"
#include "config/flags.h"

#define SOURCES_NAME_BYTES 96

/* Name a flag's environment variable: AGENT_PROXY_ and the name in capitals, with _ for each dot
 * and hyphen and before each capital: maxConnsPerHost is AGENT_PROXY_MAX_CONNS_PER_HOST. */
void sources_name_variable(const struct flag *flag, char name[SOURCES_NAME_BYTES]);

/* The value that the environment has for a flag; NULL: none, or an empty one. */
const char *sources_find_variable(const struct flag *flag);

/* Set what the environment has. Other variables are passed over, since Kubernetes makes such for a
 * service named agent-proxy. origins: one for each flag; those that are set are changed.
 * Errors: -EINVAL, and one line in error that names the variable. */
__attribute__((warn_unused_result)) int sources_set_environment(const struct flag_table *table,
                                                                void *settings,
                                                                struct config_source *origins,
                                                                char error[FLAGS_ERROR_BYTES]);

/* Set what the file has: a YAML mapping of flag names without dashes to single values.
 * Errors: -EINVAL, and one line in error that names file and line. */
__attribute__((warn_unused_result)) int sources_set_file(const struct flag_table *table,
                                                         const char *path, void *settings,
                                                         struct config_source *origins,
                                                         char error[FLAGS_ERROR_BYTES]);

#endif
