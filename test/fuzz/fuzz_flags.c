/* Settings from all sources: a line "AGENT_PROXY_..." is a variable of the environment, one that
 * begins with - a word of the command line, and what follows the first line "%" is the YAML of
 * --config.file, of --gateway.config and of --http.config. What is accepted prints, and what is
 * printed is accepted. */
#include "config/config.h"
#include "config/material.h"

#include <assert.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define WORDS_MAX 32

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* One input taken apart. */
struct input {
    char *text; /* the lines point into it */
    char *words[WORDS_MAX + 4];
    int count;
    char *variables[WORDS_MAX];
    size_t variable_count;
    const char *yaml;
};

static void take_apart(struct input *input, const uint8_t *data, size_t bytes)
{
    static char program[] = "agent-proxy";
    input->text = calloc(1, bytes + 1);
    assert(input->text != NULL);
    if (bytes > 0) {
        memcpy(input->text, data, bytes);
    }
    input->words[input->count++] = program;
    char *rest = input->text;
    while (rest != NULL && strncmp(rest, "%\n", 2) != 0) {
        char *line = strsep(&rest, "\n");
        char *equals = strchr(line, '=');
        if (strncmp(line, "AGENT_PROXY_", 12) == 0 && equals != NULL &&
            input->variable_count < WORDS_MAX) {
            *equals = '\0';
            setenv(line, equals + 1, 1);
            input->variables[input->variable_count++] = line;
        } else if (input->count < WORDS_MAX) {
            input->words[input->count++] = line;
        }
    }
    input->yaml = rest == NULL ? "" : rest + 2;
}

/* A file in memory with the text. Its path is put into path. */
static int make_file(const char *text, size_t bytes, char path[64])
{
    int fd = memfd_create("fuzz", 0);
    assert(fd >= 0 && write(fd, text, bytes) == (ssize_t)bytes);
    (void)snprintf(path, 64, "/proc/self/fd/%d", fd);
    return fd;
}

/* Whatever is wrong is told in one line that ends. */
static void check_error(const char *error, size_t room)
{
    assert(memchr(error, '\0', room) != NULL && error[0] != '\0' && strchr(error, '\n') == NULL);
}

/* Of settings that may be absent. */
static bool is_same(const char *one, const char *other)
{
    return strcmp(one == NULL ? "" : one, other == NULL ? "" : other) == 0;
}

/* What is printed says the same settings: it is accepted, and prints the same. */
static void check_printed(const struct config *config)
{
    char path[64];
    char flag[96];
    char error[CONFIG_ERROR_BYTES];
    struct config again;
    int fd = make_file("", 0, path);
    config_print(config, fd);
    (void)snprintf(flag, sizeof(flag), "--config.file=%s", path);
    char program[] = "x";
    char *words[] = {program, flag};
    enum config_outcome outcome = config_parse(2, words, &again, error);
    if (outcome != CONFIG_RUN) {
        (void)fprintf(stderr, "%s\n", error);
        abort();
    }
    assert(strcmp(again.tenant, config->tenant) == 0);
    assert(strcmp(again.gateway_address.text, config->gateway_address.text) == 0);
    assert(strcmp(again.http_host, config->http_host) == 0);
    assert(is_same(again.server_tls_key, config->server_tls_key));
    assert(again.batch_linger_us == config->batch_linger_us);
    config_deinit(&again);
    close(fd);
}

static void load(struct config *config, char *path, const char *yaml)
{
    char error[MATERIAL_ERROR_BYTES] = "";
    /* Only what the input holds is read, no file that it names by chance. */
    struct config sources = {.http_config = path};
    struct material *material = material_load(&sources, error);
    if (material == NULL) {
        check_error(error, sizeof(error));
    }
    material_release(material);
    sources = (struct config){.gateway_config = strdup(yaml),
                              .gateway_server_name = config->gateway_server_name};
    material = material_load(&sources, error);
    if (material == NULL) {
        check_error(error, sizeof(error));
    }
    material_release(material);
    free(sources.gateway_config);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct input input = {0};
    struct config config = {0};
    char path[64];
    char flag[96];
    char error[CONFIG_ERROR_BYTES] = "";
    take_apart(&input, data, bytes);
    int fd = make_file(input.yaml, strlen(input.yaml), path);
    (void)snprintf(flag, sizeof(flag), "--config.file=%s", path);
    if (input.yaml[0] != '\0') {
        input.words[input.count++] = flag;
    }
    enum config_outcome outcome = config_parse(input.count, input.words, &config, error);
    for (size_t i = 0; i < input.variable_count; i++) {
        unsetenv(input.variables[i]);
    }
    if (outcome == CONFIG_ERROR) {
        check_error(error, sizeof(error));
    }
    load(&config, path, input.yaml);
    if (outcome == CONFIG_RUN && config.probe == NULL) {
        check_printed(&config);
    }
    config_deinit(&config);
    close(fd);
    free(input.text);
    return 0;
}
