/* The settings as a text that --config.file takes. */
#ifndef AGENT_PROXY_CONFIG_PRINT_H
#define AGENT_PROXY_CONFIG_PRINT_H

#include "base/buf.h"
#include "config/config.h"
#include "config/flags.h"

/* Print each setting to the end of text as "flag: value # source", by group. What asks for
 * something else than to run is left out, and so is a secret's value. file: the path that
 * CONFIG_ORIGIN_FILE speaks of. Errors: as buf_append(). */
__attribute__((warn_unused_result)) int print_settings(const struct flag_table *table,
                                                       const void *settings,
                                                       const struct config_source *origins,
                                                       const char *file, struct buf *text);

#endif
