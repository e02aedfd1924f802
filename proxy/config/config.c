/* Reads the settings from their sources and prints the help. */
#include "config/config.h"

#include "base/alloc.h"
#include "config/help.h"
#include "config/print.h"
#include "config/settings.h"
#include "config/sources.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HELP_BYTES_MAX     (64U * 1024U)
#define SETTINGS_BYTES_MAX (8U * 1024U * 1024U) /* --gateway.config may be large */

_Static_assert(CONFIG_ERROR_BYTES >= FLAGS_ERROR_BYTES, "a message of flags.c fits");

/* Words of the command line without the program's name. */
struct config_words {
    int count;
    char *const *words;
};

static struct config_words config_skip_name(int argc, char *const *argv)
{
    int first = argc > 0;
    if (argc > 1 && strcmp(argv[1], "agent-proxy") == 0) {
        first = 2; /* manifests of an image with several programs begin with the program's name */
    }
    return (struct config_words){.count = argc - first, .words = argv + first};
}

/* Read the command line over what is there. */
static int config_read_words(struct config_words words, struct config_command *command,
                             char error[CONFIG_ERROR_BYTES])
{
    bool given[SETTINGS_MAX] = {false};
    int result = flags_set_arguments(&SETTINGS, words.count, words.words, command, given, error);
    for (size_t i = 0; i < SETTINGS.count; i++) {
        if (given[i]) {
            command->config.sources[i] = (struct config_source){.origin = CONFIG_ORIGIN_FLAG};
        }
    }
    return result;
}

static void config_begin(struct config_command *command)
{
    char error[CONFIG_ERROR_BYTES];
    *command = (struct config_command){0};
    command->config.sources = alloc_zero(SETTINGS.count, sizeof(*command->config.sources));
    int result = flags_set_defaults(&SETTINGS, command, error);
    assert(result == 0);
}

/* Read all sources over the defaults, weakest first, and see that nothing is missing. */
static int config_read_all(struct config_words words, const char *file,
                           struct config_command *command, char error[CONFIG_ERROR_BYTES])
{
    bool given[SETTINGS_MAX] = {false};
    struct config_source *sources = command->config.sources;
    int result = file == NULL ? 0 : sources_set_file(&SETTINGS, file, command, sources, error);
    if (result == 0) {
        result = sources_set_environment(&SETTINGS, command, sources, error);
    }
    if (result == 0) {
        result = config_read_words(words, command, error);
    }
    for (size_t i = 0; i < SETTINGS.count; i++) {
        given[i] = sources[i].origin != CONFIG_ORIGIN_DEFAULT;
    }
    return result < 0 ? result : flags_check_required(&SETTINGS, given, error);
}

/* Find the file to read, by the command line that was read or by the environment. Owner: the
 * caller; NULL: none. */
static int config_find_file(struct config_command *command, char **file,
                            char error[CONFIG_ERROR_BYTES])
{
    static const char name[] = "config.file";
    const struct flag *flag = flags_find(&SETTINGS, name, sizeof(name) - 1);
    assert(flag != NULL);
    const char *value = sources_find_variable(flag);
    if (value != NULL && !config_is_given(&command->config, name)) {
        char *bare = flags_unquote(value);
        int result = flag_set(flag, "AGENT_PROXY_CONFIG_FILE", bare, command, error);
        free(bare);
        if (result < 0) {
            return result;
        }
    }
    const char *path = command->config.config_file;
    *file = path == NULL ? NULL : alloc_copy(path, strlen(path));
    return 0;
}

/* Read the command line, which may ask for something else than to run, then all sources. Errors:
 * -EINVAL, and one line in error; what was read is then still to be freed. */
static int config_read(int argc, char *const *argv, struct config_command *command,
                       char error[CONFIG_ERROR_BYTES])
{
    char *file = NULL;
    struct config_words words = config_skip_name(argc, argv);
    config_begin(command);
    int result = config_read_words(words, command, error);
    if (result < 0 || command->help || command->version || command->config.probe != NULL) {
        return result;
    }
    result = config_find_file(command, &file, error);
    if (result == 0) {
        settings_deinit(command);
        config_begin(command);
        result = config_read_all(words, file, command, error);
    }
    free(file);
    return result;
}

enum config_outcome config_parse(int argc, char *const *argv, struct config *config,
                                 char error[CONFIG_ERROR_BYTES])
{
    struct config_command command;
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

void config_print(const struct config *config, int fd)
{
    static const char head[] = "# Settings of agent-proxy, each with where it comes from.\n\n";
    struct config_command command = {
        .config = *config,
        .read_prefix = config->gateway_read_path_prefix ? CONFIG_PREFIX_ON : CONFIG_PREFIX_OFF};
    struct buf text;
    buf_init(&text, SETTINGS_BYTES_MAX);
    int result = buf_append(&text, head, sizeof(head) - 1);
    if (result == 0) {
        result = print_settings(&SETTINGS, &command, config->sources, config->config_file, &text);
    }
    if (result == 0) {
        config_write(fd, text.data, text.size);
    }
    buf_deinit(&text);
}
