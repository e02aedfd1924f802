/* Reads the listener's side of the material. Owns nothing after it returns. */
#include "config/web_config.h"

#include "base/alloc.h"
#include "base/escape.h"
#include "config/ciphers.h"
#include "config/config.h"
#include "config/document.h"
#include "config/identity.h"
#include "config/secret.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define NAME_SHOWN_BYTES_MAX 60
#define USERS_MAX            1000
#define HEADER_BYTES_MAX     1024

/* What a file says of TLS. Owner: web_config_load(). */
struct web_tls {
    struct identity_sources sources;
    char *client_auth_type;
    char *min_version;
    char *max_version;
    struct document_list suites;
    struct document_list curves;
    bool prefer_server;
    bool given;
    unsigned line;
};

/* What is read, and into what. */
struct web_config {
    struct web_tls tls;
    struct material_listener *listener;
};

#define TLS(field) .offset = offsetof(struct web_tls, field)

static const struct document_field TLS_FIELDS[] = {
    {"cert", document_read_source, TLS(sources.cert)},
    {"cert_file", document_read_source_file, TLS(sources.cert)},
    {"key", document_read_source, TLS(sources.key)},
    {"key_file", document_read_source_file, TLS(sources.key)},
    {"client_ca", document_read_source, TLS(sources.ca)},
    {"client_ca_file", document_read_source_file, TLS(sources.ca)},
    {"client_auth_type", document_read_text, TLS(client_auth_type)},
    {"min_version", document_read_text, TLS(min_version)},
    {"max_version", document_read_text, TLS(max_version)},
    {"cipher_suites", document_read_list, TLS(suites)},
    {"curve_preferences", document_read_list, TLS(curves)},
    {"prefer_server_cipher_suites", document_read_bool, TLS(prefer_server)},
    {.name = "client_allowed_sans",
     .read = document_refuse_field,
     .note = "is not supported: who may come is decided by the client CA alone"},
};

static int web_read_tls(DOCUMENT_READ_ARGUMENTS)
{
    struct web_config *web = target;
    (void)field;
    web->tls.given = !yaml_tree_is_null(node);
    web->tls.line = node->line;
    return document_read_map(document, node, TLS_FIELDS, COUNT(TLS_FIELDS), &web->tls);
}

/* Call add for each "name: text" of a mapping. */
static int web_read_pairs(DOCUMENT_READ_ARGUMENTS,
                          int (*add)(struct document *document, struct material_listener *listener,
                                     const struct yaml_pair *pair))
{
    struct web_config *web = target;
    if (yaml_tree_is_null(node)) {
        return 0;
    }
    if (node->kind != YAML_MAP || node->count > USERS_MAX) {
        return document_refuse(document, node->line, field->name,
                               "up to 1000 pairs are expected, as \"name: value\"");
    }
    for (size_t i = 0; i < node->count; i++) {
        const struct yaml_pair *pair = &node->pairs[i];
        int result = pair->value->kind == YAML_SCALAR
                         ? add(document, web->listener, pair)
                         : document_refuse(document, pair->line, field->name,
                                           "one value is expected for each name");
        if (result < 0) {
            return result;
        }
    }
    return 0;
}

static int web_add_user(struct document *document, struct material_listener *listener,
                        const struct yaml_pair *pair)
{
    char shown[NAME_SHOWN_BYTES_MAX + 1];
    size_t size = escape_json(shown, NAME_SHOWN_BYTES_MAX, pair->key, strlen(pair->key));
    shown[size] = '\0';
    const char *reason = secret_check_password(pair->key);
    if (reason == NULL && strchr(pair->key, ':') != NULL) {
        reason = "has a colon";
    }
    if (reason != NULL) {
        return document_refuse(document, pair->line, "basic_auth_users", "the name \"%s\" %s",
                               shown, reason);
    }
    reason = secret_check_bcrypt(pair->value->text);
    if (reason != NULL) {
        return document_refuse(document, pair->line, "basic_auth_users",
                               "the value of \"%s\" (not shown) %s", shown, reason);
    }
    struct material_user *users = alloc_zero(listener->user_count + 1, sizeof(*users));
    if (listener->user_count > 0) {
        memcpy(users, listener->users, listener->user_count * sizeof(*users));
    }
    free(listener->users);
    users[listener->user_count++] =
        (struct material_user){.name = alloc_copy(pair->key, strlen(pair->key)),
                               .hash = alloc_copy(pair->value->text, strlen(pair->value->text))};
    listener->users = users;
    return 0;
}

static int web_read_users(DOCUMENT_READ_ARGUMENTS)
{
    return web_read_pairs(document, field, node, target, web_add_user);
}

/* Headers that may be set, and what to: none is one that the proxy itself needs. */
static const struct {
    const char *name;
    const char *values[2]; /* none: any */
} HEADERS[] = {{"Content-Security-Policy", {NULL}},
               {"Strict-Transport-Security", {NULL}},
               {"X-Content-Type-Options", {"nosniff"}},
               {"X-Frame-Options", {"deny", "sameorigin"}},
               {"X-XSS-Protection", {NULL}}};

static const char *web_check_header(const char *name, const char *value)
{
    size_t row = 0;
    while (row < COUNT(HEADERS) && strcasecmp(HEADERS[row].name, name) != 0) {
        row++;
    }
    if (row == COUNT(HEADERS)) {
        return "cannot be set; these can: Content-Security-Policy, Strict-Transport-Security, "
               "X-Content-Type-Options, X-Frame-Options, X-XSS-Protection";
    }
    for (const char *c = value; *c != '\0'; c++) {
        if (*c < ' ' || *c > '~') {
            return "has a value with a control character or one that is not ASCII";
        }
    }
    if (strlen(value) > HEADER_BYTES_MAX) {
        return "has a value longer than 1024 bytes";
    }
    bool allowed = HEADERS[row].values[0] == NULL;
    for (size_t i = 0; !allowed && i < 2 && HEADERS[row].values[i] != NULL; i++) {
        allowed = strcasecmp(HEADERS[row].values[i], value) == 0;
    }
    return allowed ? NULL : "has a value that browsers do not know";
}

static int web_add_header(struct document *document, struct material_listener *listener,
                          const struct yaml_pair *pair)
{
    if (pair->value->text[0] == '\0') {
        return 0; /* as in Go: not set */
    }
    const char *reason = web_check_header(pair->key, pair->value->text);
    if (reason != NULL) {
        char shown[NAME_SHOWN_BYTES_MAX + 1];
        size_t size = escape_json(shown, NAME_SHOWN_BYTES_MAX, pair->key, strlen(pair->key));
        shown[size] = '\0';
        return document_refuse(document, pair->line, "headers", "\"%s\" %s", shown, reason);
    }
    struct material_header *headers = alloc_zero(listener->header_count + 1, sizeof(*headers));
    if (listener->header_count > 0) {
        memcpy(headers, listener->headers, listener->header_count * sizeof(*headers));
    }
    free(listener->headers);
    headers[listener->header_count++] =
        (struct material_header){.name = alloc_copy(pair->key, strlen(pair->key)),
                                 .value = alloc_copy(pair->value->text, strlen(pair->value->text))};
    listener->headers = headers;
    return 0;
}

static int web_read_headers(DOCUMENT_READ_ARGUMENTS)
{
    return web_read_pairs(document, field, node, target, web_add_header);
}

static const struct document_field HTTP_FIELDS[] = {
    {.name = "headers", .read = web_read_headers},
    {.name = "http2", .read = document_pass_over}, /* HTTP/1.1 is what is spoken */
};

static int web_read_http(DOCUMENT_READ_ARGUMENTS)
{
    (void)field;
    return document_read_map(document, node, HTTP_FIELDS, COUNT(HTTP_FIELDS), target);
}

static const struct document_field FIELDS[] = {
    {.name = "tls_server_config", .read = web_read_tls},
    {.name = "basic_auth_users", .read = web_read_users},
    {.name = "http_server_config", .read = web_read_http},
    {.name = "rate_limit",
     .read = document_refuse_field,
     .note = "is not supported: --limits.* bound what one sender may take"},
};

static const struct {
    const char *name;
    enum material_client_auth auth;
    bool verifies;
} AUTH_TYPES[] = {{"NoClientCert", MATERIAL_CLIENT_AUTH_NONE, false},
                  {"RequestClientCert", MATERIAL_CLIENT_AUTH_REQUEST, false},
                  {"RequireAnyClientCert", MATERIAL_CLIENT_AUTH_REQUIRE, false},
                  {"RequireClientCert", MATERIAL_CLIENT_AUTH_REQUIRE, false},
                  {"VerifyClientCertIfGiven", MATERIAL_CLIENT_AUTH_REQUEST, true},
                  {"RequireAndVerifyClientCert", MATERIAL_CLIENT_AUTH_VERIFY, true}};

/* Decide about certificates of clients, from the type's name and whether there is a CA. */
static int web_apply_client_auth(struct document *document, const struct web_tls *tls,
                                 struct material_listener *listener)
{
    static const char name[] = "client_auth_type";
    const char *type = tls->client_auth_type == NULL ? "NoClientCert" : tls->client_auth_type;
    size_t row = 0;
    while (row < COUNT(AUTH_TYPES) && strcmp(AUTH_TYPES[row].name, type) != 0) {
        row++;
    }
    if (row == COUNT(AUTH_TYPES)) {
        return document_refuse(document, tls->line, name,
                               "is not one of NoClientCert, RequestClientCert, "
                               "RequireAnyClientCert, VerifyClientCertIfGiven, "
                               "RequireAndVerifyClientCert");
    }
    bool has_ca = listener->client_ca_pem != NULL;
    if (AUTH_TYPES[row].verifies && !has_ca) {
        return document_refuse(document, tls->line, name, "%s needs client_ca_file", type);
    }
    if (row == 0 && has_ca) {
        return document_refuse(document, tls->line, name,
                               "a client CA is given, but no certificate is asked for");
    }
    if (!AUTH_TYPES[row].verifies) {
        secret_free(listener->client_ca_pem); /* the type says not to verify, so nothing may */
        listener->client_ca_pem = NULL;
    }
    listener->client_auth = AUTH_TYPES[row].auth;
    return 0;
}

static int web_apply_version(struct document *document, const struct web_tls *tls, const char *name,
                             const char *text, enum material_tls_version *version)
{
    const char *reason = text == NULL ? NULL : ciphers_parse_version(text, version);
    return reason == NULL ? 0 : document_refuse(document, tls->line, name, "%s", reason);
}

static int web_apply_ciphers(struct document *document, const struct web_tls *tls,
                             struct material_listener *listener)
{
    char error[CIPHERS_ERROR_BYTES];
    struct cipher_choice choice = {.max_version = MATERIAL_TLS_1_3,
                                   .prefer_server = tls->prefer_server,
                                   .suites = tls->suites.texts,
                                   .suite_count = tls->suites.count,
                                   .curves = tls->curves.texts,
                                   .curve_count = tls->curves.count};
    int result =
        web_apply_version(document, tls, "min_version", tls->min_version, &choice.min_version);
    if (result == 0) {
        result =
            web_apply_version(document, tls, "max_version", tls->max_version, &choice.max_version);
    }
    if (result == 0 && ciphers_build(&choice, &listener->priorities, error) < 0) {
        result = document_refuse(document, tls->line, "tls_server_config", "%s", error);
    }
    listener->min_version = choice.min_version;
    return result;
}

/* Turn what was said of TLS into what it takes to serve it. */
static int web_apply_tls(struct document *document, const struct web_tls *tls,
                         struct material_listener *listener)
{
    struct reader *reader = document->reader;
    if (!reader_source_is_given(&tls->sources.cert) && !reader_source_is_given(&tls->sources.key)) {
        return document_refuse(document, tls->line, "tls_server_config",
                               "cert_file and key_file are missing");
    }
    int result = identity_read_pair(reader, &tls->sources, &listener->cert_pem, &listener->key_pem);
    if (result == 0) {
        result = identity_read_ca(reader, &tls->sources, &listener->client_ca_pem);
    }
    if (result == 0) {
        result = web_apply_client_auth(document, tls, listener);
    }
    if (result == 0) {
        result = web_apply_ciphers(document, tls, listener);
    }
    listener->tls = result == 0;
    return result;
}

/* Take the flags as a file that says the same. */
static int web_take_flags(const struct config *config, struct document *document,
                          struct web_tls *tls)
{
    const char *flag = config->server_tls_cert != NULL  ? "--server-tls-cert"
                       : config->server_tls_key != NULL ? "--server-tls-key"
                                                        : "--server-tls-client-ca";
    if (config->server_tls_cert == NULL && config->server_tls_key == NULL &&
        config->server_tls_client_ca == NULL) {
        return 0;
    }
    if (tls->given) {
        return reader_refuse(document->reader, flag,
                             "TLS is also set by tls_server_config in --http.config: %s; one of "
                             "the two must go",
                             document->path);
    }
    if (config->server_tls_cert == NULL || config->server_tls_key == NULL) {
        return reader_refuse(
            document->reader, flag, "needs %s%s%s",
            config->server_tls_cert == NULL ? "--server-tls-cert" : "",
            config->server_tls_cert == NULL && config->server_tls_key == NULL ? " and " : "",
            config->server_tls_key == NULL ? "--server-tls-key" : "");
    }
    identity_set_file(&tls->sources.cert, "--server-tls-cert", config->server_tls_cert);
    identity_set_file(&tls->sources.key, "--server-tls-key", config->server_tls_key);
    identity_set_file(&tls->sources.ca, "--server-tls-client-ca", config->server_tls_client_ca);
    if (config->server_tls_client_ca != NULL) {
        static const char type[] = "RequireAndVerifyClientCert";
        secret_free(tls->client_auth_type);
        tls->client_auth_type = alloc_copy(type, sizeof(type) - 1);
    }
    *document = (struct document){.reader = document->reader, .flag = flag};
    tls->given = true;
    return 0;
}

static void web_tls_deinit(struct web_tls *tls)
{
    identity_deinit(&tls->sources);
    document_list_deinit(&tls->suites);
    document_list_deinit(&tls->curves);
    free(tls->client_auth_type);
    free(tls->min_version);
    free(tls->max_version);
}

int web_config_load(const struct config *config, struct reader *reader,
                    struct material_listener *listener)
{
    struct document document = {
        .reader = reader, .flag = "--http.config", .path = config->http_config};
    struct web_config web = {.tls = {.prefer_server = true}, .listener = listener};
    struct yaml_node *root = NULL;
    char *text = NULL;
    int result = 0;
    if (config->http_config != NULL) {
        result = reader_read(reader, "--http.config", config->http_config, &text);
        if (result == 0) {
            result = document_parse(&document, text, &root);
        }
        if (result == 0) {
            result = document_read_map(&document, root, FIELDS, COUNT(FIELDS), &web);
        }
    }
    if (result == 0) {
        result = web_take_flags(config, &document, &web.tls);
    }
    if (result == 0 && web.tls.given) {
        result = web_apply_tls(&document, &web.tls, web.listener);
    }
    yaml_tree_free(root);
    secret_free(text);
    web_tls_deinit(&web.tls);
    return result;
}
