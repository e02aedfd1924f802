/* The settings of the program: parsed, validated, then constant.
 *
 * One table in settings.c gives each flag its name, kind, range, default and help; --help, the
 * reference in docs/ and the checks all come from it. */
#ifndef AGENT_PROXY_CONFIG_CONFIG_H
#define AGENT_PROXY_CONFIG_CONFIG_H

#include "base/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An http or https base address, checked and taken apart.
 * Shape: "http[s]://host[:port][/base]", no user, query or fragment; base without a final slash. */
struct config_url {
    char *text;       /* the whole, normalised: scheme://host[:port]/base */
    const char *path; /* the base path inside text, "" or "/..." */
    bool https;
};

/* Where a value comes from, the weakest first. */
enum config_origin {
    CONFIG_ORIGIN_DEFAULT,
    CONFIG_ORIGIN_FILE,
    CONFIG_ORIGIN_ENVIRONMENT,
    CONFIG_ORIGIN_FLAG
};

struct config_source {
    enum config_origin origin;
    unsigned line; /* CONFIG_ORIGIN_FILE: in --config.file, from 1 */
};

/* Owner: main; freed after the last worker has ended. Strings are its own. */
struct config {
    struct config_url gateway_address;
    char *tenant;        /* [A-Za-z0-9_.-]{1,64}, not "." or ".." */
    char *tenant_header; /* a header-field name */
    bool tenant_path_prefix;
    char *gateway_write_path;      /* begins with '/' */
    uint64_t gateway_max_inflight; /* writes at the gateway at once, of each worker */
    uint64_t gateway_max_connection_age_us;
    uint64_t gateway_timeout_us;            /* [us] one attempt */
    struct config_url gateway_read_address; /* as gateway_address unless given */
    bool gateway_read_path_prefix;          /* as tenant_path_prefix unless given */
    uint64_t reads_max_inflight;            /* reads at the gateway at once, of each worker */
    uint64_t reads_window_bytes;            /* of an answer that are held for a slow client */
    uint64_t reads_timeout_us;              /* [us] of silence, by gateway or client */
    bool reads_forward_authorization;
    char *http_host;    /* numeric address or name to listen on; "" is every address */
    uint16_t http_port; /* 0: any free port; the log tells which */
    uint64_t http_grace_period_us;
    enum log_level log_level;
    enum log_format log_format;
    uint64_t workers;      /* 0: by CPU quota */
    uint64_t workers_fill; /* connections that one gets before the next gets any */
    uint64_t batch_max_bytes;
    uint64_t batch_max_decoded_bytes;
    uint64_t batch_max_requests;
    uint64_t batch_linger_us;
    /* What material.h reads. NULL: not given. */
    char *server_tls_cert; /* paths */
    char *server_tls_key;
    char *server_tls_client_ca;
    char *http_config;
    char *gateway_client_tls_key;
    char *gateway_client_tls_cert;
    char *gateway_server_tls_client_ca; /* the CA that signed the gateway's certificate */
    char *gateway_server_name;
    bool gateway_insecure_skip_verify;
    char *gateway_config; /* YAML */
    char *gateway_config_file;
    uint64_t max_idle_conns_per_host; /* connections to the gateway kept open when idle */
    uint64_t max_conns_per_host;      /* to the gateway in all, of each worker; 0: no limit */
    bool ready_gateway;               /* readiness asks for an answer of the gateway */
    uint64_t shutdown_delay_us;       /* between "not ready" and the end of accepting */
    bool web_disable;                 /* no status page */
    char *config_file;                /* where settings were read from; NULL: from no file */
    bool config_check;                /* print the settings and end */
    char *probe;                      /* URL to ask, and end; NULL: none */
    uint64_t limits_body_bytes;
    uint64_t limits_decoded_bytes;
    uint64_t limits_connections;             /* open at once, of each worker */
    uint64_t limits_connections_per_address; /* of them from one address */
    struct config_source *sources; /* of each value, in the table's order; see config_is_given() */
    uint64_t limits_memory_bytes;  /* budget for what is held of requests; 0: by memory limit */
};

enum config_outcome { CONFIG_RUN, CONFIG_HELP, CONFIG_VERSION, CONFIG_ERROR };

#define CONFIG_ERROR_BYTES 512

/* Read --config.file, the environment and the command line into config; the later is stronger.
 * Shape: "--name=value" or "--name value"; a boolean also "--name" and "--no-name"; one pair of
 * quotes (" or ') around a value is stripped; the last of a repeated flag wins.
 * With config->probe set nothing else is required, and tenant and addresses may be NULL.
 * Owner: on CONFIG_RUN the caller frees config with config_deinit(); else nothing is left to free.
 * Errors: CONFIG_ERROR, and one line in error that says which flag and why. */
__attribute__((warn_unused_result)) enum config_outcome
config_parse(int argc, char *const *argv, struct config *config, char error[CONFIG_ERROR_BYTES]);

void config_deinit(struct config *config);

/* True when the value of a flag, named without dashes, was given and is not the default's. False
 * for settings that config_parse() did not make. */
__attribute__((pure)) bool config_is_given(const struct config *config, const char *name);

/* Print the settings as YAML that --config.file takes, each with where it comes from; secrets are
 * left out. */
void config_print(const struct config *config, int fd);

/* Print the help text: usage, then each flag with its default, grouped. */
void config_print_help(int fd);

#endif
