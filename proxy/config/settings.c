/* The table of flags. Owns nothing: the strings are those of struct config. */
#include "config/settings.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "config/address.h"
#include "config/rules.h"

#include <stdlib.h>
#include <string.h>

#define KIB  UINT64_C(1024)
#define MIB  (KIB * KIB)
#define GIB  (KIB * MIB)
#define MSEC UINT64_C(1000)
#define SEC  (1000 * MSEC)
#define HOUR (3600 * SEC)

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char *settings_set_gateway_address(void *settings, const char *text)
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

static const char *settings_set_gateway_read_address(void *settings, const char *text)
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

static const char *settings_set_http_address(void *settings, const char *text)
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

static int settings_print_gateway_address(const void *settings, struct buf *text)
{
    const struct config_command *command = settings;
    const char *url = command->config.gateway_address.text;
    return url == NULL ? 0 : buf_append(text, url, strlen(url));
}

static int settings_print_gateway_read_address(const void *settings, struct buf *text)
{
    const struct config_command *command = settings;
    const char *url = command->config.gateway_read_address.text;
    return url == NULL ? 0 : buf_append(text, url, strlen(url));
}

static int settings_print_http_address(const void *settings, struct buf *text)
{
    const struct config_command *command = settings;
    const char *host = command->config.http_host;
    bool ipv6 = strchr(host, ':') != NULL;
    return buf_printf(text, "%s%s%s:%u", ipv6 ? "[" : "", host, ipv6 ? "]" : "",
                      command->config.http_port);
}

_Static_assert(sizeof(enum log_level) == sizeof(unsigned), "FLAG_CHOICE stores an unsigned");
_Static_assert(sizeof(enum config_prefix) == sizeof(unsigned), "FLAG_CHOICE stores an unsigned");
_Static_assert(sizeof(enum log_format) == sizeof(unsigned), "FLAG_CHOICE stores an unsigned");

#define FIELD(name) .offset = offsetof(struct config_command, config.name)

static const struct flag FLAGS[] = {
    {.name = "gateway.address",
     .group = "Gateway",
     .kind = FLAG_CUSTOM,
     .set = settings_set_gateway_address,
     .print = settings_print_gateway_address,
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
     .help = "Longest time for one write at the gateway, connecting included. Keep it under 25s, "
             "after which the sender is answered 503 in any case."},
    {.name = "maxConnsPerHost",
     .group = "Gateway",
     .kind = FLAG_NUMBER,
     FIELD(max_conns_per_host),
     .min = 0,
     .max = 100000,
     .argument = "N",
     .standard = "0",
     .help = "Connections that one worker has to the gateway at most, for writes and queries "
             "together; 0 is no limit but that of the requests in flight. With a limit writes cost "
             "more CPU, and slow queries can hold them up."},
    {.name = "maxIdleConnsPerHost",
     .group = "Gateway",
     .kind = FLAG_NUMBER,
     FIELD(max_idle_conns_per_host),
     .min = 0,
     .max = 100000,
     .argument = "N",
     .standard = "100",
     .help = "Connections to the gateway that one worker keeps open when idle."},

    {.name = "gateway.server-tls-client-ca",
     .group = "Gateway TLS and credentials",
     .kind = FLAG_STRING,
     .check = rules_check_file,
     .optional = true,
     FIELD(gateway_server_tls_client_ca),
     .argument = "FILE",
     .help = "CA certificates (PEM) to verify the gateway's certificate; by default the system's."},
    {.name = "gateway.client-tls-cert",
     .group = "Gateway TLS and credentials",
     .kind = FLAG_STRING,
     .check = rules_check_file,
     .optional = true,
     FIELD(gateway_client_tls_cert),
     .argument = "FILE",
     .help = "Certificate (PEM) to show to the gateway; needs --gateway.client-tls-key."},
    {.name = "gateway.client-tls-key",
     .group = "Gateway TLS and credentials",
     .kind = FLAG_STRING,
     .check = rules_check_file,
     .optional = true,
     FIELD(gateway_client_tls_key),
     .argument = "FILE",
     .help = "Private key (PEM) of that certificate."},
    {.name = "gateway.server-name",
     .group = "Gateway TLS and credentials",
     .kind = FLAG_STRING,
     .check = rules_check_server_name,
     .optional = true,
     FIELD(gateway_server_name),
     .argument = "NAME",
     .help = "Name to expect in the gateway's certificate, if not the host of its address."},
    {.name = "gateway.insecure-skip-verify",
     .group = "Gateway TLS and credentials",
     .kind = FLAG_BOOL,
     FIELD(gateway_insecure_skip_verify),
     .argument = "",
     .standard = "false",
     .help =
         "Accept any certificate from the gateway: anyone on the network path can then read and "
         "change all data."},
    {.name = "gateway.config",
     .group = "Gateway TLS and credentials",
     .kind = FLAG_STRING,
     .secret = true,
     .optional = true,
     FIELD(gateway_config),
     .argument = "YAML",
     .help = "Credentials, TLS and connections of the HTTP client: see docs/gateway-config.md. "
             "${NAME} and $(NAME) stand for environment variables."},
    {.name = "gateway.config-file",
     .group = "Gateway TLS and credentials",
     .kind = FLAG_STRING,
     .check = rules_check_file,
     .optional = true,
     FIELD(gateway_config_file),
     .argument = "FILE",
     .help = "The same from a file, which is read again when it changes."},

    {.name = "gateway.read-address",
     .group = "Reads",
     .kind = FLAG_CUSTOM,
     .set = settings_set_gateway_read_address,
     .print = settings_print_gateway_read_address,
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
     .help =
         "Longest silence of the gateway, and longest wait for a free slot. A client that takes "
         "nothing of its answer is cut off after this or 60s, whichever is less."},
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
     .check = rules_check_tenant,
     FIELD(tenant),
     .argument = "NAME",
     .required = true,
     .help = "Tenant of all that is forwarded: 1 to 64 letters, digits, dots, hyphens and "
             "underscores."},
    {.name = "tenant.header",
     .group = "Tenant",
     .kind = FLAG_STRING,
     .check = rules_check_header,
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
     .set = settings_set_http_address,
     .print = settings_print_http_address,
     .argument = "ADDRESS",
     .standard = "0.0.0.0:9090",
     .help = "Where to listen: host:port, [ipv6]:port or :port. 0.0.0.0 is every address, of IPv6 "
             "too. Port 0 takes any free one."},
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
    {.name = "workers.fill",
     .group = "Listener",
     .kind = FLAG_NUMBER,
     FIELD(workers_fill),
     .min = 0,
     .max = 100000,
     .argument = "N",
     .standard = "16",
     .help = "Connections that a thread serves before the next one gets any: few senders are "
             "cheapest together. A thread that is busy for more than half of its time gets none "
             "while another is not. 0 spreads them from the first on."},
    {.name = "shutdown-delay",
     .group = "Listener",
     .kind = FLAG_DURATION,
     FIELD(shutdown_delay_us),
     .min = 0,
     .max = HOUR,
     .argument = "TIME",
     .standard = "0s",
     .help = "Time between telling \"not ready\" and the end of accepting once told to stop, so "
             "that a Service takes the pod out first."},
    {.name = "ready.gateway",
     .group = "Listener",
     .kind = FLAG_BOOL,
     FIELD(ready_gateway),
     .argument = "",
     .standard = "false",
     .help = "Be ready only while the gateway has answered within 30s."},
    {.name = "web.disable",
     .group = "Listener",
     .kind = FLAG_BOOL,
     FIELD(web_disable),
     .argument = "",
     .standard = "false",
     .help = "Serve no status page."},

    {.name = "server-tls-cert",
     .group = "Listener TLS and passwords",
     .kind = FLAG_STRING,
     .check = rules_check_file,
     .optional = true,
     FIELD(server_tls_cert),
     .argument = "FILE",
     .help = "Certificate (PEM) of the listener, which then serves HTTPS; needs --server-tls-key."},
    {.name = "server-tls-key",
     .group = "Listener TLS and passwords",
     .kind = FLAG_STRING,
     .check = rules_check_file,
     .optional = true,
     FIELD(server_tls_key),
     .argument = "FILE",
     .help = "Private key (PEM) of that certificate."},
    {.name = "server-tls-client-ca",
     .group = "Listener TLS and passwords",
     .kind = FLAG_STRING,
     .check = rules_check_file,
     .optional = true,
     FIELD(server_tls_client_ca),
     .argument = "FILE",
     .help = "CA certificates (PEM) to verify clients; one without a certificate is refused."},
    {.name = "http.config",
     .group = "Listener TLS and passwords",
     .kind = FLAG_STRING,
     .check = rules_check_file,
     .optional = true,
     FIELD(http_config),
     .argument = "FILE",
     .help = "TLS, users and headers in the form of Prometheus' web configuration: see "
             "docs/web-config.md."},

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
     .help = "Time to wait for further requests while the gateway could take the batch at once. "
             "With 0s requests wait only while all of --gateway.max-inflight are busy, or for a "
             "moment behind another batch while more come in."},

    {.name = "limits.body-bytes",
     .group = "Limits",
     .kind = FLAG_BYTES,
     FIELD(limits_body_bytes),
     .min = KIB,
     .max = GIB,
     .argument = "SIZE",
     .standard = "32MiB",
     .help = "Largest body of one request, compressed; at most the memory budget."},
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
     .help = "The same from one address, so that no sender takes all. Which thread serves a "
             "connection does not depend on its address."},
    {.name = "limits.memory-bytes",
     .group = "Limits",
     .kind = FLAG_BYTES,
     FIELD(limits_memory_bytes),
     .min = 0,
     .max = 1024 * GIB,
     .argument = "SIZE",
     .standard = "0",
     .help = "Bytes held for all requests together; above it senders are answered 503. 0 is "
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
     .help = "Lowest level that is logged: debug, info, warn or error."},
    {.name = "log.format",
     .group = "Logging",
     .kind = FLAG_CHOICE,
     FIELD(log_format),
     .choices = {[LOG_FORMAT_LOGFMT] = "logfmt", [LOG_FORMAT_JSON] = "json"},
     .argument = "FORMAT",
     .standard = "logfmt",
     .help = "Form of a line: logfmt or json."},

    {.name = "config.file",
     .group = "Other",
     .scope = FLAG_NOT_IN_FILE,
     .kind = FLAG_STRING,
     .check = rules_check_file,
     .optional = true,
     FIELD(config_file),
     .argument = "FILE",
     .help = "Flags from a YAML file, their names as keys. A flag on the command line takes "
             "precedence, then the environment's AGENT_PROXY_GATEWAY_ADDRESS and so on, then the "
             "file."},
    {.name = "config.check",
     .group = "Other",
     .scope = FLAG_ON_COMMAND_LINE,
     .kind = FLAG_BOOL,
     FIELD(config_check),
     .argument = "",
     .help =
         "Check the settings and all files that they name, print them without secrets, and end."},
    {.name = "probe",
     .group = "Other",
     .scope = FLAG_ON_COMMAND_LINE,
     .kind = FLAG_STRING,
     .check = rules_check_probe,
     .optional = true,
     FIELD(probe),
     .argument = "URL",
     .help = "Request the URL and exit: 0 when the answer is 2xx, else 1. For probes in an image "
             "without "
             "a shell."},
    {.name = "help",
     .group = "Other",
     .scope = FLAG_ON_COMMAND_LINE,
     .kind = FLAG_BOOL,
     .offset = offsetof(struct config_command, help),
     .argument = "",
     .help = "Print this text and end."},
    {.name = "version",
     .group = "Other",
     .scope = FLAG_ON_COMMAND_LINE,
     .kind = FLAG_BOOL,
     .offset = offsetof(struct config_command, version),
     .argument = "",
     .help = "Print the version and end."},
};

const struct flag_table SETTINGS = {.flags = FLAGS, .count = COUNT(FLAGS)};

_Static_assert(COUNT(FLAGS) <= SETTINGS_MAX, "arrays with a place for each flag hold them all");

/* Set what is as another flag says unless given itself. */
void settings_complete(struct config_command *command)
{
    struct config *config = &command->config;
    config->gateway_read_path_prefix = command->read_prefix == CONFIG_PREFIX_AUTO
                                           ? config->tenant_path_prefix
                                           : command->read_prefix == CONFIG_PREFIX_ON;
    if (config->gateway_read_address.text == NULL && config->gateway_address.text != NULL) {
        const struct config_url *from = &config->gateway_address;
        char *text = alloc_copy(from->text, strlen(from->text));
        config->gateway_read_address = (struct config_url){
            .text = text, .path = text + (from->path - from->text), .https = from->https};
    }
}

void settings_deinit(struct config_command *command)
{
    flags_deinit(&SETTINGS, command);
    free(command->config.gateway_address.text);
    free(command->config.gateway_read_address.text);
    free(command->config.http_host);
    free(command->config.sources);
    command->config = (struct config){0};
}
