/* This program's flags: the one table that the command line, the environment, the file, --help, the
 * reference in docs/ and --config.check all read. Private to config/. */
#ifndef AGENT_PROXY_CONFIG_SETTINGS_H
#define AGENT_PROXY_CONFIG_SETTINGS_H

#include "config/config.h"
#include "config/flags.h"

#include <stdbool.h>

enum config_prefix { CONFIG_PREFIX_AUTO, CONFIG_PREFIX_ON, CONFIG_PREFIX_OFF };

/* What the table fills: the settings and the flags that ask for something else than to run. */
struct config_command {
    struct config config;
    enum config_prefix read_prefix;
    bool help;
    bool version;
};

#define SETTINGS_MAX 96 /* rows at most */

extern const struct flag_table SETTINGS;

/* Set what is as another flag says unless given itself. */
void settings_complete(struct config_command *command);

/* Free what the settings own. */
void settings_deinit(struct config_command *command);

#endif
