/* What the settings point to outside of the program: certificates, keys, passwords, tokens, and
 * the files that name them. It has two sides, each validated as a whole; read again when a file
 * changes, and constant in between. What is wrong with one side keeps nothing new from the other.
 *
 * Sources: the TLS flags; --http.config in the form of Prometheus' web configuration;
 * --gateway.config and --gateway.config-file in the form of the Go agent-proxy's HTTP client. */
#ifndef AGENT_PROXY_CONFIG_MATERIAL_H
#define AGENT_PROXY_CONFIG_MATERIAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct config;

enum material_client_auth {
    MATERIAL_CLIENT_AUTH_NONE,
    MATERIAL_CLIENT_AUTH_REQUEST, /* asked for, not needed; verified when given and a CA is known */
    MATERIAL_CLIENT_AUTH_REQUIRE, /* needed; any will do */
    MATERIAL_CLIENT_AUTH_VERIFY   /* needed, and signed by the client CA */
};

enum material_tls_version { MATERIAL_TLS_1_2, MATERIAL_TLS_1_3 };

/* A user of the listener. */
struct material_user {
    char *name;
    char *hash; /* bcrypt, as crypt(3) takes it */
};

/* A header that every reply of the listener carries. */
struct material_header {
    char *name;
    char *value;
};

/* The files of a side. Owner: the side. */
struct material_files {
    char **paths; /* what to watch for a change */
    size_t count;
    uint64_t fingerprint; /* of all contents: equal where nothing changed; 0: nothing was read */
};

/* The listener's side. PEM texts are terminated; NULL: not given. Owner: as of the material, of
 * which several may share it. */
struct material_listener {
    _Atomic unsigned references;
    struct material_files files;
    bool tls;
    char *cert_pem;
    char *key_pem;
    char *client_ca_pem;
    enum material_client_auth client_auth;
    enum material_tls_version min_version;
    char *priorities;            /* GnuTLS priority string made of min_version and cipher_suites */
    struct material_user *users; /* none: no password is asked for */
    size_t user_count;
    struct material_header *headers;
    size_t header_count;
};

/* The gateway's side, for writes and reads. NULL: not given. Owner: as of the listener's. */
struct material_gateway {
    _Atomic unsigned references;
    struct material_files files;
    char *ca_pem; /* NULL: the system's */
    char *client_cert_pem;
    char *client_key_pem;
    char *server_name; /* to expect in the certificate, and to send as SNI; NULL: the address' */
    bool insecure_skip_verify;
    char *authorization; /* value of the Authorization header: "Bearer ...", "Basic ..." */
    char *proxy_url;     /* NULL: none */
    uint64_t idle_conn_timeout_us; /* 0: default */
    uint64_t max_idle_conns;       /* 0: default */
    /* As the flags of these names say, else the configuration, else the flags' defaults. */
    uint64_t max_idle_conns_per_host;
    uint64_t max_conns_per_host; /* 0: no limit */
    enum material_tls_version min_version;
};

/* Owner: shared by reference count; constant once loaded. */
struct material {
    _Atomic unsigned references;
    struct material_listener *listener; /* held */
    struct material_gateway *gateway;   /* held */
};

#define MATERIAL_ERROR_BYTES 512

/* Read and validate everything. One reference is the caller's.
 * Errors: NULL, and one line in error that names the file or flag and why; no secret is in it. */
__attribute__((warn_unused_result)) struct material *
material_load(const struct config *config, char error[MATERIAL_ERROR_BYTES]);

/* The same while before is in use: a side that cannot be read or is not valid is the one of before,
 * and error has the line about it, or the lines about both; "" where nothing is wrong. Does not
 * fail. */
__attribute__((warn_unused_result)) struct material *
material_load_again(const struct config *config, const struct material *before,
                    char error[MATERIAL_ERROR_BYTES]);

struct material *material_hold(struct material *material);
void material_release(struct material *material); /* NULL is passed over */

#endif
