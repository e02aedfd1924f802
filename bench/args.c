/* Command-line options; see args.h. */
#include "bench/args.h"

#include <errno.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

void args_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vfprintf(stderr, format, arguments);
    va_end(arguments);
    (void)fputc('\n', stderr);
    exit(2);
}

__attribute__((noreturn)) static void print_help(const char *program,
                                                 const struct args_option *options, size_t count)
{
    const char *slash = strrchr(program, '/');
    printf("usage: %s [--option=value ...]\n", slash == NULL ? program : slash + 1);
    for (size_t i = 0; i < count; i++) {
        printf("  --%-20s %s\n", options[i].name, options[i].help);
    }
    exit(0);
}

static void set_number(const struct args_option *option, const char *value)
{
    char *end = NULL;
    errno = 0;
    bool negative = value[0] == '-';
    if (option->kind == ARGS_U64) {
        *(uint64_t *)option->target = strtoull(value, &end, 10);
    } else if (option->kind == ARGS_I64) {
        *(int64_t *)option->target = strtoll(value, &end, 10);
        negative = false;
    } else {
        *(double *)option->target = strtod(value, &end);
    }
    if (errno != 0 || end == value || *end != '\0' || negative) {
        args_fail("--%s: \"%s\" is not a number that fits", option->name, value);
    }
}

static void set_option(const struct args_option *option, const char *value)
{
    if (option->kind == ARGS_FLAG) {
        if (value != NULL) {
            args_fail("--%s takes no value", option->name);
        }
        *(bool *)option->target = true;
        return;
    }
    if (value == NULL) {
        args_fail("--%s needs a value: --%s=...", option->name, option->name);
    }
    if (option->kind == ARGS_TEXT) {
        *(const char **)option->target = value;
    } else if (option->kind == ARGS_LIST) {
        struct args_list *list = option->target;
        if (list->count == ARGS_LIST_MAX) {
            args_fail("--%s: more than %d times", option->name, ARGS_LIST_MAX);
        }
        list->values[list->count++] = value;
    } else {
        set_number(option, value);
    }
}

void args_parse(int argc, char *const *argv, const struct args_option *options, size_t count)
{
    for (int a = 1; a < argc; a++) {
        if (strcmp(argv[a], "--help") == 0) {
            print_help(argv[0], options, count);
        }
        if (strncmp(argv[a], "--", 2) != 0) {
            args_fail("\"%s\" is not an option; try --help", argv[a]);
        }
        const char *name = argv[a] + 2;
        size_t name_bytes = strcspn(name, "=");
        const char *value = name[name_bytes] == '=' ? name + name_bytes + 1 : NULL;
        size_t i = 0;
        while (i < count && (strlen(options[i].name) != name_bytes ||
                             memcmp(options[i].name, name, name_bytes) != 0)) {
            i++;
        }
        if (i == count) {
            args_fail("unknown option --%.*s; try --help", (int)name_bytes, name);
        }
        set_option(&options[i], value);
    }
}

void args_address(const char *text, struct sockaddr_in *address)
{
    char host[256];
    const char *colon = strrchr(text, ':');
    if (colon == NULL || (size_t)(colon - text) >= sizeof host) {
        args_fail("\"%s\" is not host:port", text);
    }
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = '\0';
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int status = getaddrinfo(host[0] == '\0' ? "0.0.0.0" : host, colon + 1, &hints, &found);
    if (status != 0) {
        args_fail("cannot resolve \"%s\": %s", text, gai_strerror(status));
    }
    memcpy(address, found->ai_addr, sizeof *address);
    freeaddrinfo(found);
}

void args_url(const char *name, const char *text, struct args_url *url)
{
    if (text == NULL || strncmp(text, "http://", 7) != 0) {
        args_fail("--%s=http://host:port/path is needed", name);
    }
    const char *start = text + 7;
    size_t bytes = strcspn(start, "/");
    if (bytes >= sizeof url->host) {
        args_fail("--%s: the host is too long", name);
    }
    memcpy(url->host, start, bytes);
    url->host[bytes] = '\0';
    url->path = start[bytes] == '/' ? start + bytes : "/";
    args_address(url->host, &url->address);
}
