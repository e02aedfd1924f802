/* Reads the gateway's side of the material. Owns nothing after it returns. */
#include "config/gateway_config.h"

#include "base/alloc.h"
#include "config/address.h"
#include "config/ciphers.h"
#include "config/config.h"
#include "config/document.h"
#include "config/identity.h"
#include "config/rules.h"
#include "config/secret.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define UNSET UINT64_MAX /* a number that was not given */

#define SCHEME_BYTES_MAX 64

/* What a configuration says. Owner: gateway_config_load(). */
struct gateway_client {
    struct reader_source user;
    struct reader_source password;
    struct reader_source bearer;
    char *scheme;
    struct reader_source credentials;
    unsigned basic_line; /* 0: not given */
    unsigned authorization_line;
    char *proxy_url;
    unsigned proxy_line;
    bool proxy_from_environment;
    struct identity_sources tls;
    char *server_name;
    bool insecure_skip_verify;
    char *min_version;
    char *max_version;
    unsigned tls_line;
    uint64_t idle_conn_timeout_us;
    uint64_t max_idle_conns;
    uint64_t max_idle_conns_per_host;
    uint64_t max_conns_per_host;
    uint64_t ignored_us;
    bool ignored;
};

#define CLIENT(field) .offset = offsetof(struct gateway_client, field)

static const struct document_field BASIC_FIELDS[] = {
    {"username", document_read_source, CLIENT(user)},
    {"username_file", document_read_source_file, CLIENT(user)},
    {"password", document_read_source, CLIENT(password)},
    {"password_file", document_read_source_file, CLIENT(password)},
};

static int gateway_read_basic(DOCUMENT_READ_ARGUMENTS)
{
    struct gateway_client *client = target;
    (void)field;
    client->basic_line = yaml_tree_is_null(node) ? 0 : node->line;
    return document_read_map(document, node, BASIC_FIELDS, COUNT(BASIC_FIELDS), client);
}

static const struct document_field AUTHORIZATION_FIELDS[] = {
    {"type", document_read_text, CLIENT(scheme)},
    {"credentials", document_read_source, CLIENT(credentials)},
    {"credentials_file", document_read_source_file, CLIENT(credentials)},
};

static int gateway_read_authorization(DOCUMENT_READ_ARGUMENTS)
{
    struct gateway_client *client = target;
    (void)field;
    client->authorization_line = yaml_tree_is_null(node) ? 0 : node->line;
    return document_read_map(document, node, AUTHORIZATION_FIELDS, COUNT(AUTHORIZATION_FIELDS),
                             client);
}

static const struct document_field TLS_FIELDS[] = {
    {"ca", document_read_source, CLIENT(tls.ca)},
    {"ca_file", document_read_source_file, CLIENT(tls.ca)},
    {"cert", document_read_source, CLIENT(tls.cert)},
    {"cert_file", document_read_source_file, CLIENT(tls.cert)},
    {"key", document_read_source, CLIENT(tls.key)},
    {"key_file", document_read_source_file, CLIENT(tls.key)},
    {"server_name", document_read_text, CLIENT(server_name)},
    {"insecure_skip_verify", document_read_bool, CLIENT(insecure_skip_verify)},
    {"min_version", document_read_text, CLIENT(min_version)},
    {"max_version", document_read_text, CLIENT(max_version)},
};

static int gateway_read_tls(DOCUMENT_READ_ARGUMENTS)
{
    struct gateway_client *client = target;
    (void)field;
    client->tls_line = node->line;
    return document_read_map(document, node, TLS_FIELDS, COUNT(TLS_FIELDS), client);
}

/* Those into "ignored" are read, so that a slip in them is found, and change nothing; the document
 * says what bounds the matter instead. */
static const struct document_field TRANSPORT_FIELDS[] = {
    {"idle_conn_timeout", document_read_duration, CLIENT(idle_conn_timeout_us)},
    {"max_idle_conns", document_read_number, CLIENT(max_idle_conns)},
    {"max_idle_conns_per_host", document_read_number, CLIENT(max_idle_conns_per_host)},
    {"max_conns_per_host", document_read_number, CLIENT(max_conns_per_host)},
    {"tls_handshake_timeout", document_read_duration, CLIENT(ignored_us)},
    {"response_header_timeout", document_read_duration, CLIENT(ignored_us)},
    {"expect_continue_timeout", document_read_duration, CLIENT(ignored_us)},
    {"disable_compression", document_read_bool, CLIENT(ignored)},
};

static int gateway_read_transport(DOCUMENT_READ_ARGUMENTS)
{
    (void)field;
    return document_read_map(document, node, TRANSPORT_FIELDS, COUNT(TRANSPORT_FIELDS), target);
}

static int gateway_read_proxy(DOCUMENT_READ_ARGUMENTS)
{
    struct gateway_client *client = target;
    client->proxy_line = node->line;
    return document_read_text(document, field, node, target);
}

static const struct document_field FIELDS[] = {
    {.name = "basic_auth", .read = gateway_read_basic},
    {.name = "authorization", .read = gateway_read_authorization},
    {"bearer_token", document_read_source, CLIENT(bearer)},
    {"bearer_token_file", document_read_source_file, CLIENT(bearer)},
    {.name = "tls_config", .read = gateway_read_tls},
    {.name = "transport_config", .read = gateway_read_transport},
    {"proxy_url", gateway_read_proxy, CLIENT(proxy_url)},
    {"proxy_from_environment", document_read_bool, CLIENT(proxy_from_environment)},
    {"follow_redirects", document_read_bool, CLIENT(ignored)}, /* none is ever followed */
    {"enable_http2", document_read_bool, CLIENT(ignored)},     /* HTTP/1.1 is what is spoken */
    {.name = "no_proxy",
     .read = document_refuse_field,
     .note = "is not supported: without proxy_url no proxy is asked"},
    {.name = "proxy_connect_header",
     .read = document_refuse_field,
     .note = "is not supported: put user and password into proxy_url"},
    {.name = "oauth2",
     .read = document_refuse_field,
     .note = "is not supported: let a sidecar renew a token in a file, and name it by "
             "authorization.credentials_file"},
    {.name = "http_headers",
     .read = document_refuse_field,
     .note = "is not supported: what goes to the gateway is a fixed list"},
};

/* Read a credential that is given, without the line end of its file, and check it. */
static int gateway_read_credential(struct reader *reader, const struct reader_source *source,
                                   const char *(*check)(const char *text), char **text)
{
    char *credential = NULL;
    int result = reader_read_source(reader, source, &credential);
    if (result < 0) {
        return result;
    }
    if (source->path != NULL) {
        secret_trim(credential);
    }
    const char *reason = check(credential);
    if (reason != NULL) {
        secret_free(credential);
        (void)reader_refuse(reader, source->where, "%s%sthe value (not shown) %s",
                            source->path == NULL ? "" : source->path,
                            source->path == NULL ? "" : ": ", reason);
        return -EINVAL;
    }
    *text = credential;
    return 0;
}

static int gateway_apply_basic(struct document *document, const struct gateway_client *client,
                               struct material_gateway *gateway)
{
    char *user = NULL;
    char *password = NULL;
    int result = 0;
    if (!reader_source_is_given(&client->user)) {
        return document_refuse(document, client->basic_line, "basic_auth", "username is missing");
    }
    result = gateway_read_credential(document->reader, &client->user, secret_check_password, &user);
    if (result == 0 && strchr(user, ':') != NULL) {
        result = reader_refuse(document->reader, client->user.where,
                               "has a colon, which parts name and password");
    }
    if (result == 0 && reader_source_is_given(&client->password)) {
        result = gateway_read_credential(document->reader, &client->password, secret_check_password,
                                         &password);
    }
    if (result == 0) {
        gateway->authorization = secret_basic(user, password == NULL ? "" : password);
    }
    secret_free(user);
    secret_free(password);
    return result;
}

/* Why a scheme is refused; NULL: it is not. */
static const char *gateway_check_scheme(const char *scheme)
{
    size_t bytes = strlen(scheme);
    if (bytes < 1 || bytes > SCHEME_BYTES_MAX) {
        return "is not 1 to 64 characters long";
    }
    if (strcasecmp(scheme, "Basic") == 0) {
        return "Basic is set by basic_auth";
    }
    return strspn(scheme, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.") ==
                   bytes
               ? NULL
               : "has a character that no scheme may hold";
}

static int gateway_apply_token(struct document *document, const struct reader_source *source,
                               const char *scheme, struct material_gateway *gateway)
{
    char *token = NULL;
    int result = gateway_read_credential(document->reader, source, secret_check_token, &token);
    if (result == 0) {
        size_t bytes = strlen(scheme) + strlen(token) + 2;
        gateway->authorization = alloc_zero(bytes, 1);
        (void)snprintf(gateway->authorization, bytes, "%s %s", scheme, token);
    }
    secret_free(token);
    return result;
}

static int gateway_apply_credentials(struct document *document, const struct gateway_client *client,
                                     struct material_gateway *gateway)
{
    bool bearer = reader_source_is_given(&client->bearer);
    if ((client->basic_line > 0) + (client->authorization_line > 0) + bearer > 1) {
        return document_refuse(document, 0, NULL,
                               "at most one of basic_auth, authorization and bearer_token may be "
                               "given");
    }
    if (client->basic_line > 0) {
        return gateway_apply_basic(document, client, gateway);
    }
    if (bearer) {
        return gateway_apply_token(document, &client->bearer, "Bearer", gateway);
    }
    if (client->authorization_line == 0) {
        return 0;
    }
    const char *scheme = client->scheme == NULL ? "Bearer" : client->scheme;
    const char *reason = gateway_check_scheme(scheme);
    if (reason != NULL) {
        return document_refuse(document, client->authorization_line, "authorization: type", "%s",
                               reason);
    }
    if (!reader_source_is_given(&client->credentials)) {
        return document_refuse(document, client->authorization_line, "authorization",
                               "credentials or credentials_file is missing");
    }
    return gateway_apply_token(document, &client->credentials, scheme, gateway);
}

/* Check a proxy's URL: scheme, an optional user and password, a host, no path. */
static const char *gateway_check_proxy(const char *text)
{
    static const char *const schemes[] = {"http://", "https://", "socks5://", "socks5h://"};
    size_t skipped = 0;
    for (size_t i = 0; i < COUNT(schemes); i++) {
        if (strncasecmp(text, schemes[i], strlen(schemes[i])) == 0) {
            skipped = strlen(schemes[i]);
        }
    }
    if (skipped == 0) {
        return "does not begin with http://, https://, socks5:// or socks5h://";
    }
    for (const char *c = text; *c != '\0'; c++) {
        if (*c <= ' ' || *c > '~') {
            return "has a character that no URL may hold";
        }
    }
    const char *host = strrchr(text + skipped, '@');
    host = host == NULL ? text + skipped : host + 1;
    size_t bytes = strlen(host) + 8;
    char *bare = alloc_zero(bytes, 1);
    (void)snprintf(bare, bytes, "http://%s", host);
    struct config_url url = {0};
    const char *reason = address_parse_url(bare, &url);
    free(bare);
    if (reason == NULL && url.path[0] != '\0') {
        reason = "has a path, which a proxy has not";
    }
    free(url.text);
    return reason;
}

static int gateway_apply_proxy(struct document *document, struct gateway_client *client,
                               struct material_gateway *gateway)
{
    if (client->proxy_from_environment) {
        return document_refuse(document, 0, "proxy_from_environment",
                               "is not supported: name the proxy by proxy_url");
    }
    if (client->proxy_url == NULL || client->proxy_url[0] == '\0') {
        return 0;
    }
    const char *reason = gateway_check_proxy(client->proxy_url);
    if (reason != NULL) {
        return document_refuse(document, client->proxy_line, "proxy_url",
                               "the value (not shown) %s", reason);
    }
    gateway->proxy_url = client->proxy_url;
    client->proxy_url = NULL;
    return 0;
}

static int gateway_apply_versions(struct document *document, const struct gateway_client *client,
                                  struct material_gateway *gateway)
{
    enum material_tls_version max_version = MATERIAL_TLS_1_3;
    const char *reason = client->min_version == NULL
                             ? NULL
                             : ciphers_parse_version(client->min_version, &gateway->min_version);
    if (reason != NULL) {
        return document_refuse(document, client->tls_line, "min_version", "%s", reason);
    }
    if (client->max_version != NULL) {
        reason = ciphers_parse_version(client->max_version, &max_version);
        if (reason == NULL && max_version != MATERIAL_TLS_1_3) {
            reason = "is not supported below TLS13";
        }
    }
    return reason == NULL
               ? 0
               : document_refuse(document, client->tls_line, "max_version", "%s", reason);
}

/* Let the flags have their say, and read what is then named. */
static int gateway_apply_tls(const struct config *config, struct document *document,
                             struct gateway_client *client, struct material_gateway *gateway)
{
    struct reader *reader = document->reader;
    struct identity_sources *tls = &client->tls;
    if (config->gateway_client_tls_cert != NULL || config->gateway_client_tls_key != NULL) {
        reader_source_deinit(&tls->cert); /* half of a pair from each would be no pair */
        reader_source_deinit(&tls->key);
    }
    identity_set_file(&tls->cert, "--gateway.client-tls-cert", config->gateway_client_tls_cert);
    identity_set_file(&tls->key, "--gateway.client-tls-key", config->gateway_client_tls_key);
    identity_set_file(&tls->ca, "--gateway.server-tls-client-ca",
                      config->gateway_server_tls_client_ca);
    int result =
        identity_read_pair(reader, tls, &gateway->client_cert_pem, &gateway->client_key_pem);
    if (result == 0) {
        result = identity_read_ca(reader, tls, &gateway->ca_pem);
    }
    if (result == 0) {
        result = gateway_apply_versions(document, client, gateway);
    }
    gateway->insecure_skip_verify = config_is_given(config, "gateway.insecure-skip-verify")
                                        ? config->gateway_insecure_skip_verify
                                        : client->insecure_skip_verify;
    const char *name =
        config->gateway_server_name != NULL ? config->gateway_server_name : client->server_name;
    if (result < 0 || name == NULL || name[0] == '\0') {
        return result;
    }
    const char *reason = rules_check_server_name(name);
    if (reason != NULL) {
        return document_refuse(document, client->tls_line, "server_name", "%s", reason);
    }
    gateway->server_name = alloc_copy(name, strlen(name));
    return 0;
}

static uint64_t gateway_choose(const struct config *config, const char *flag, uint64_t value,
                               uint64_t configured)
{
    return configured == UNSET || config_is_given(config, flag) ? value : configured;
}

static void gateway_apply_transport(const struct config *config,
                                    const struct gateway_client *client,
                                    struct material_gateway *gateway)
{
    gateway->idle_conn_timeout_us = client->idle_conn_timeout_us;
    gateway->max_idle_conns = client->max_idle_conns;
    gateway->max_idle_conns_per_host =
        gateway_choose(config, "maxIdleConnsPerHost", config->max_idle_conns_per_host,
                       client->max_idle_conns_per_host);
    gateway->max_conns_per_host = gateway_choose(
        config, "maxConnsPerHost", config->max_conns_per_host, client->max_conns_per_host);
}

static void gateway_client_deinit(struct gateway_client *client)
{
    reader_source_deinit(&client->user);
    reader_source_deinit(&client->password);
    reader_source_deinit(&client->bearer);
    reader_source_deinit(&client->credentials);
    identity_deinit(&client->tls);
    secret_free(client->proxy_url);
    free(client->scheme);
    free(client->server_name);
    free(client->min_version);
    free(client->max_version);
}

/* Read the YAML into client. */
static int gateway_read(const struct config *config, struct document *document,
                        struct gateway_client *client)
{
    struct yaml_node *root = NULL;
    char *text = NULL;
    int result = 0;
    if (config->gateway_config != NULL && config->gateway_config_file != NULL) {
        return reader_refuse(document->reader, "--gateway.config",
                             "--gateway.config-file is given too; one of the two must go");
    }
    if (config->gateway_config_file != NULL) {
        document->flag = "--gateway.config-file";
        document->path = config->gateway_config_file;
        result = reader_read(document->reader, document->flag, document->path, &text);
    }
    const char *yaml = text != NULL ? text : config->gateway_config;
    if (result == 0 && yaml != NULL) {
        result = document_parse(document, yaml, &root);
    }
    if (result == 0) {
        result = document_read_map(document, root, FIELDS, COUNT(FIELDS), client);
    }
    yaml_tree_free(root);
    secret_free(text);
    return result;
}

int gateway_config_load(const struct config *config, struct reader *reader,
                        struct material_gateway *gateway)
{
    struct document document = {.reader = reader, .flag = "--gateway.config", .expand = true};
    struct gateway_client client = {.max_idle_conns_per_host = UNSET, .max_conns_per_host = UNSET};
    int result = gateway_read(config, &document, &client);
    if (result == 0) {
        result = gateway_apply_credentials(&document, &client, gateway);
    }
    if (result == 0) {
        result = gateway_apply_proxy(&document, &client, gateway);
    }
    if (result == 0) {
        result = gateway_apply_tls(config, &document, &client, gateway);
    }
    if (result == 0) {
        gateway_apply_transport(config, &client, gateway);
    }
    gateway_client_deinit(&client);
    return result;
}
