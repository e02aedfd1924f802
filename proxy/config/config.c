/* The flags of this program and what their values must be. Owns the strings of struct config. */
#include "config/config.h"

#include "base/alloc.h"
#include "config/address.h"
#include "config/flags.h"
#include "config/help.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define KIB  UINT64_C(1024)
#define MIB  (KIB * KIB)
#define GIB  (KIB * MIB)
#define MSEC UINT64_C(1000)
#define SEC  (1000 * MSEC)
#define HOUR (3600 * SEC)

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum config_prefix { CONFIG_PREFIX_AUTO, CONFIG_PREFIX_ON, CONFIG_PREFIX_OFF };

/* What the table fills: the settings and the flags that ask for something else than to run. */
struct config_command {
    struct config config;
    enum config_prefix read_prefix;
    bool help;
    bool version;
};

static bool config_is_alphanumeric(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool config_consists_of(const char *text, const char *others)
{
    for (; *text != '\0'; text++) {
        if (!config_is_alphanumeric(*text) && strchr(others, *text) == NULL) {
            return false;
        }
    }
    return true;
}

static const char *config_check_tenant(const char *text)
{
    size_t bytes = strlen(text);
    if (bytes < 1 || bytes > 64) {
        return "is not 1 to 64 characters long";
    }
    if (!config_consists_of(text, "_.-")) {
        return "has a character that is not a letter, a digit or one of _ . -";
    }
    if (strcmp(text, ".") == 0 || strcmp(text, "..") == 0) {
        return "would change the path of a request";
    }
    return NULL;
}

/* Headers that the proxy sets or that belong to the connection: a tenant there would break the
 * request or be overwritten. */
static const char *const MANAGED_HEADERS[] = {"Accept",
                                              "Accept-Encoding",
                                              "Authorization",
                                              "Connection",
                                              "Content-Encoding",
                                              "Content-Length",
                                              "Content-Type",
                                              "Cookie",
                                              "Date",
                                              "Expect",
                                              "Host",
                                              "Keep-Alive",
                                              "Proxy-Authenticate",
                                              "Proxy-Authorization",
                                              "Proxy-Connection",
                                              "Retry-Attempt",
                                              "TE",
                                              "Trailer",
                                              "Transfer-Encoding",
                                              "Upgrade",
                                              "User-Agent",
                                              "Via",
                                              "X-Prometheus-Remote-Write-Version"};

static const char *config_check_header(const char *text)
{
    size_t bytes = strlen(text);
    if (bytes < 1 || bytes > 128) {
        return "is not 1 to 128 characters long";
    }
    if (!config_consists_of(text, "!#$%&'*+-.^_`|~")) { /* token, RFC 9110 section 5.6.2 */
        return "has a character that no header name may hold";
    }
    for (size_t i = 0; i < COUNT(MANAGED_HEADERS); i++) {
        if (strcasecmp(text, MANAGED_HEADERS[i]) == 0) {
            return "is a header that the proxy itself sets";
        }
    }
    return NULL;
}

static const char *config_set_gateway_address(void *settings, const char *text)
{
    struct config_command *command = settings;
    struct config_url url;
    const char *reason = address_parse_url(text, &url);
    if (reason == NULL) {
        free(command->config.gateway_address.text);
        command->config.gateway_address = url;
    }
    return reason;
}

static const char *config_set_gateway_read_address(void *settings, const char *text)
{
    struct config_command *command = settings;
    struct config_url url;
    const char *reason = address_parse_url(text, &url);
    if (reason == NULL) {
        free(command->config.gateway_read_address.text);
        command->config.gateway_read_address = url;
    }
    return reason;
}

/* Set what is as another flag says unless given itself. */
static void config_complete(struct config_command *command)
{
    struct config *config = &command->config;
    config->gateway_read_path_prefix = command->read_prefix == CONFIG_PREFIX_AUTO
                                           ? config->tenant_path_prefix
                                           : command->read_prefix == CONFIG_PREFIX_ON;
    if (config->gateway_read_address.text == NULL) {
        const struct config_url *from = &config->gateway_address;
        char *text = alloc_copy(from->text, strlen(from->text));
        config->gateway_read_address = (struct config_url){
            .text = text, .path = text + (from->path - from->text), .https = from->https};
    }
}

static const char *config_set_http_address(void *settings, const char *text)
{
    struct config_command *command = settings;
    struct address_listen listen;
    const char *reason = address_parse_listen(text, &listen);
    if (reason == NULL) {
        free(command->config.http_host);
        command->config.http_host = listen.host;
        command->config.http_port = listen.port;
    }
    return reason;
}

_Static_assert(sizeof(enum log_level) == sizeof(unsigned), "FLAG_CHOICE stores an unsigned");
_Static_assert(sizeof(enum config_prefix) == sizeof(unsigned), "FLAG_CHOICE stores an unsigned");
_Static_assert(sizeof(enum log_format) == sizeof(unsigned), "FLAG_CHOICE stores an unsigned");

#define FIELD(name) .offset = offsetof(struct config_command, config.name)

static const struct flag FLAGS[] = {
    {.name = "gateway.address",
     .group = "Gateway",
     .kind = FLAG_CUSTOM,
     .set = config_set_gateway_address,
     .argument = "URL",
     .required = true,
     .help = "Where requests go: http[s]://host[:port][/base]."},
    {.name = "gateway.write-path",
     .group = "Gateway",
     .kind = FLAG_STRING,
     .check = address_check_path,
     FIELD(gateway_write_path),
     .argument = "PATH",
     .standard = "/api/v1/receive",
     .help = "Path of remote write at the gateway, behind the base path and the tenant."},
    {.name = "gateway.max-inflight",
     .group = "Gateway",
     .kind = FLAG_NUMBER,
     FIELD(gateway_max_inflight),
     .min = 1,
     .max = 1024,
     .argument = "N",
     .standard = "4",
     .help = "Writes that one worker has at the gateway at once."},
    {.name = "gateway.max-connection-age",
     .group = "Gateway",
     .kind = FLAG_DURATION,
     FIELD(gateway_max_connection_age_us),
     .min = SEC,
     .max = 24 * HOUR,
     .argument = "TIME",
     .standard = "5m",
     .help = "Age above which a connection to the gateway is not used again, so that new pods and "
             "renewed certificates come into use."},
    {.name = "gateway.timeout",
     .group = "Gateway",
     .kind = FLAG_DURATION,
     FIELD(gateway_timeout_us),
     .min = MSEC,
     .max = HOUR,
     .argument = "TIME",
     .standard = "20s",
     .help = "Longest wait for the answer to one request. Keep it under the senders' own timeout "
             "(Prometheus: 30s), so that they hear why."},

    {.name = "gateway.read-address",
     .group = "Reads",
     .kind = FLAG_CUSTOM,
     .set = config_set_gateway_read_address,
     .argument = "URL",
     .help = "Where queries go, if not to --gateway.address: for example a Thanos Query."},
    {.name = "gateway.read-path-prefix",
     .group = "Reads",
     .kind = FLAG_CHOICE,
     .offset = offsetof(struct config_command, read_prefix),
     .choices = {[CONFIG_PREFIX_AUTO] = "auto",
                 [CONFIG_PREFIX_ON] = "true",
                 [CONFIG_PREFIX_OFF] = "false"},
     .argument = "auto|true|false",
     .standard = "auto",
     .help = "Put /<tenant> before the path of queries; auto is as --tenant.path-prefix. Without "
             "it a gateway may answer with every tenant's data: for the host's own use only."},
    {.name = "reads.max-inflight",
     .group = "Reads",
     .kind = FLAG_NUMBER,
     FIELD(reads_max_inflight),
     .min = 1,
     .max = 4096,
     .argument = "N",
     .standard = "64",
     .help = "Queries that one worker has at the gateway at once; the rest wait in order. Writes "
             "do not count."},
    {.name = "reads.window-bytes",
     .group = "Reads",
     .kind = FLAG_BYTES,
     FIELD(reads_window_bytes),
     .min = 64 * KIB,
     .max = 64 * MIB,
     .argument = "SIZE",
     .standard = "256KiB",
     .help = "Bytes of one answer that are held for a slow client before the gateway is paused."},
    {.name = "reads.timeout",
     .group = "Reads",
     .kind = FLAG_DURATION,
     FIELD(reads_timeout_us),
     .min = MSEC,
     .max = 24 * HOUR,
     .argument = "TIME",
     .standard = "2m",
     .help = "Longest silence of the gateway, or of a client that does not take its answer."},
    {.name = "reads.forward-authorization",
     .group = "Reads",
     .kind = FLAG_BOOL,
     FIELD(reads_forward_authorization),
     .argument = "",
     .standard = "false",
     .help = "Pass a client's Authorization header on to the gateway."},

    {.name = "tenant",
     .group = "Tenant",
     .kind = FLAG_STRING,
     .check = config_check_tenant,
     FIELD(tenant),
     .argument = "NAME",
     .required = true,
     .help = "Tenant of all that is forwarded: 1 to 64 letters, digits, dots, hyphens and "
             "underscores."},
    {.name = "tenant.header",
     .group = "Tenant",
     .kind = FLAG_STRING,
     .check = config_check_header,
     FIELD(tenant_header),
     .argument = "NAME",
     .standard = "WHIZARD-TENANT",
     .help = "Header that carries the tenant to the gateway."},
    {.name = "tenant.path-prefix",
     .group = "Tenant",
     .kind = FLAG_BOOL,
     FIELD(tenant_path_prefix),
     .argument = "",
     .standard = "true",
     .help = "Put /<tenant> before each path at the gateway."},

    {.name = "http-address",
     .group = "Listener",
     .kind = FLAG_CUSTOM,
     .set = config_set_http_address,
     .argument = "ADDRESS",
     .standard = "0.0.0.0:9090",
     .help = "Where to listen: host:port, [ipv6]:port or :port. Port 0 takes any free one."},
    {.name = "http-grace-period",
     .group = "Listener",
     .kind = FLAG_DURATION,
     FIELD(http_grace_period_us),
     .min = 0,
     .max = HOUR,
     .argument = "TIME",
     .standard = "2m",
     .help = "Longest time to finish what is in flight once told to stop."},
    {.name = "workers",
     .group = "Listener",
     .kind = FLAG_NUMBER,
     FIELD(workers),
     .min = 0,
     .max = 64,
     .argument = "N",
     .standard = "0",
     .help = "Threads that serve; 0 is one for each CPU of the container's quota, rounded up."},

    {.name = "batch.max-bytes",
     .group = "Batches",
     .kind = FLAG_BYTES,
     FIELD(batch_max_bytes),
     .min = 1,
     .max = GIB,
     .argument = "SIZE",
     .standard = "1MiB",
     .help = "Compressed bytes above which no further request joins a batch."},
    {.name = "batch.max-decoded-bytes",
     .group = "Batches",
     .kind = FLAG_BYTES,
     FIELD(batch_max_decoded_bytes),
     .min = 1,
     .max = GIB,
     .argument = "SIZE",
     .standard = "8MiB",
     .help = "The same for its bytes once decompressed."},
    {.name = "batch.max-requests",
     .group = "Batches",
     .kind = FLAG_NUMBER,
     FIELD(batch_max_requests),
     .min = 1,
     .max = 4096,
     .argument = "N",
     .standard = "64",
     .help = "Requests that are joined into one batch; 1 joins none."},
    {.name = "batch.linger",
     .group = "Batches",
     .kind = FLAG_DURATION,
     FIELD(batch_linger_us),
     .min = 0,
     .max = 10 * SEC,
     .argument = "TIME",
     .standard = "0s",
     .help = "Time to wait for company while the gateway could take the batch at once. With 0s "
             "requests wait only while all of --gateway.max-inflight are busy."},

    {.name = "limits.body-bytes",
     .group = "Limits",
     .kind = FLAG_BYTES,
     FIELD(limits_body_bytes),
     .min = KIB,
     .max = GIB,
     .argument = "SIZE",
     .standard = "32MiB",
     .help = "Largest body of one request, compressed."},
    {.name = "limits.decoded-bytes",
     .group = "Limits",
     .kind = FLAG_BYTES,
     FIELD(limits_decoded_bytes),
     .min = KIB,
     .max = GIB,
     .argument = "SIZE",
     .standard = "32MiB",
     .help = "The same once decompressed."},
    {.name = "limits.connections",
     .group = "Limits",
     .kind = FLAG_NUMBER,
     FIELD(limits_connections),
     .min = 1,
     .max = 1000000,
     .argument = "N",
     .standard = "2048",
     .help = "Connections that one worker keeps open; above it only health, readiness and metrics "
             "are answered."},
    {.name = "limits.connections-per-address",
     .group = "Limits",
     .kind = FLAG_NUMBER,
     FIELD(limits_connections_per_address),
     .min = 1,
     .max = 1000000,
     .argument = "N",
     .standard = "1536",
     .help = "The same from one address, so that no sender takes all."},
    {.name = "limits.memory-bytes",
     .group = "Limits",
     .kind = FLAG_BYTES,
     FIELD(limits_memory_bytes),
     .min = 0,
     .max = 1024 * GIB,
     .argument = "SIZE",
     .standard = "0",
     .help = "Bytes held for all requests together; senders are told to come again above it. 0 is "
             "a quarter of the container's memory limit, or 64MiB where there is none."},

    {.name = "log.level",
     .group = "Logging",
     .kind = FLAG_CHOICE,
     FIELD(log_level),
     .choices = {[LOG_LEVEL_DEBUG] = "debug",
                 [LOG_LEVEL_INFO] = "info",
                 [LOG_LEVEL_WARN] = "warn",
                 [LOG_LEVEL_ERROR] = "error"},
     .argument = "LEVEL",
     .standard = "info",
     .help = "Least level that is logged: debug, info, warn or error."},
    {.name = "log.format",
     .group = "Logging",
     .kind = FLAG_CHOICE,
     FIELD(log_format),
     .choices = {[LOG_FORMAT_LOGFMT] = "logfmt", [LOG_FORMAT_JSON] = "json"},
     .argument = "FORMAT",
     .standard = "logfmt",
     .help = "Form of a line: logfmt or json."},

    {.name = "help",
     .group = "Other",
     .kind = FLAG_BOOL,
     .offset = offsetof(struct config_command, help),
     .argument = "",
     .help = "Print this text and end."},
    {.name = "version",
     .group = "Other",
     .kind = FLAG_BOOL,
     .offset = offsetof(struct config_command, version),
     .argument = "",
     .help = "Print the version and end."},
};

static const struct flag_table TABLE = {.flags = FLAGS, .count = COUNT(FLAGS)};

_Static_assert(CONFIG_ERROR_BYTES >= FLAGS_ERROR_BYTES, "a message of flags.c fits");

static void config_command_deinit(struct config_command *command)
{
    flags_deinit(&TABLE, command);
    free(command->config.gateway_address.text);
    free(command->config.gateway_read_address.text);
    free(command->config.http_host);
    command->config = (struct config){0};
}

/* Read all sources into command, weakest first. Errors: -EINVAL, and one line in error; what was
 * read is then still to be freed. */
static int config_read(int argc, char *const *argv, struct config_command *command,
                       char error[CONFIG_ERROR_BYTES])
{
    bool given[COUNT(FLAGS)] = {false};
    int first = argc > 0;
    if (argc > 1 && strcmp(argv[1], "agent-proxy") == 0) {
        first = 2; /* manifests of an image with several programs begin with the program's name */
    }
    int result = flags_set_defaults(&TABLE, command, error);
    assert(result == 0);
    result = flags_set_arguments(&TABLE, argc - first, argv + first, command, given, error);
    if (result < 0 || command->help || command->version) {
        return result;
    }
    return flags_check_required(&TABLE, given, error);
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
        config_complete(&command);
        *config = command.config;
    } else {
        config_command_deinit(&command);
    }
    return outcome;
}

void config_deinit(struct config *config)
{
    struct config_command command = {.config = *config};
    config_command_deinit(&command);
    *config = (struct config){0};
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
    buf_init(&text, 64 * KIB);
    int result = buf_printf(
        &text, "Usage: agent-proxy --gateway.address=URL --tenant=NAME [flag...]\n\n"
               "Takes Prometheus remote write, joins what arrives together and sends it to the "
               "gateway of one\ntenant. A sender is answered once the gateway has answered for its "
               "data. Flags are written\n--name=value or --name value. Sizes: 512KiB, 32MiB, 1GiB "
               "or bytes. Times: 500ms, 20s, 1m30s.\n");
    if (result == 0) {
        result = help_print(&TABLE, &text);
    }
    if (result == 0) {
        config_write(fd, text.data, text.size);
    }
    buf_deinit(&text);
}
