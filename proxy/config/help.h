/* The help text of a table of flags. */
#ifndef AGENT_PROXY_CONFIG_HELP_H
#define AGENT_PROXY_CONFIG_HELP_H

#include "base/buf.h"
#include "config/flags.h"

#define HELP_COLUMNS 100

/* Print the flags to the end of text, by group, each with its argument, help and default, wrapped
 * to HELP_COLUMNS. Errors: as buf_append(). */
__attribute__((warn_unused_result)) int help_print(const struct flag_table *table,
                                                   struct buf *text);

#endif
