/* Reads the settings from their sources and prints the help. */
#include "config/config.h"

#include "base/alloc.h"
#include "config/help.h"
#include "config/settings.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#define HELP_BYTES_MAX (64U * 1024U)

_Static_assert(CONFIG_ERROR_BYTES >= FLAGS_ERROR_BYTES, "a message of flags.c fits");

/* Read all sources into command, weakest first. Errors: -EINVAL, and one line in error; what was
 * read is then still to be freed. */
static int config_read(int argc, char *const *argv, struct config_command *command,
                       char error[CONFIG_ERROR_BYTES])
{
    bool given[SETTINGS_MAX] = {false};
    int first = argc > 0;
    if (argc > 1 && strcmp(argv[1], "agent-proxy") == 0) {
        first = 2; /* manifests of an image with several programs begin with the program's name */
    }
    int result = flags_set_defaults(&SETTINGS, command, error);
    assert(result == 0);
    result = flags_set_arguments(&SETTINGS, argc - first, argv + first, command, given, error);
    command->config.sources = alloc_zero(SETTINGS.count, sizeof(*command->config.sources));
    for (size_t i = 0; i < SETTINGS.count; i++) {
        command->config.sources[i].origin = given[i] ? CONFIG_ORIGIN_FLAG : CONFIG_ORIGIN_DEFAULT;
    }
    if (result < 0 || command->help || command->version || command->config.probe != NULL) {
        return result;
    }
    return flags_check_required(&SETTINGS, given, error);
}

enum config_outcome config_parse(int argc, char *const *argv, struct config *config,
                                 char error[CONFIG_ERROR_BYTES])
{
    struct config_command command = {0};
    enum config_outcome outcome = CONFIG_RUN;
    if (config_read(argc, argv, &command, error) < 0) {
        outcome = CONFIG_ERROR;
    } else if (command.help) {
        outcome = CONFIG_HELP;
    } else if (command.version) {
        outcome = CONFIG_VERSION;
    }
    if (outcome == CONFIG_RUN) {
        settings_complete(&command);
        *config = command.config;
    } else {
        settings_deinit(&command);
    }
    return outcome;
}

void config_deinit(struct config *config)
{
    struct config_command command = {.config = *config};
    settings_deinit(&command);
    *config = (struct config){0};
}

bool config_is_given(const struct config *config, const char *name)
{
    const struct flag *flag = flags_find(&SETTINGS, name, strlen(name));
    assert(flag != NULL);
    return config->sources != NULL &&
           config->sources[flag - SETTINGS.flags].origin != CONFIG_ORIGIN_DEFAULT;
}

/* Write all of the bytes; what cannot be written is lost. */
static void config_write(int fd, const uint8_t *bytes, size_t count)
{
    while (count > 0) {
        ssize_t written = write(fd, bytes, count);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            return;
        }
        bytes += written;
        count -= (size_t)written;
    }
}

void config_print_help(int fd)
{
    struct buf text;
    buf_init(&text, HELP_BYTES_MAX);
    int result = buf_printf(
        &text, "Usage: agent-proxy --gateway.address=URL --tenant=NAME [flag...]\n\n"
               "Takes Prometheus remote write, joins what arrives together and sends it to the "
               "gateway of one\ntenant. A sender is answered once the gateway has answered for its "
               "data. Flags are written\n--name=value or --name value. Sizes: 512KiB, 32MiB, 1GiB "
               "or bytes. Times: 500ms, 20s, 1m30s.\n");
    if (result == 0) {
        result = help_print(&SETTINGS, &text);
    }
    if (result == 0) {
        config_write(fd, text.data, text.size);
    }
    buf_deinit(&text);
}
