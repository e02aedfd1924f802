/* Whom we are to the gateway and whom we trust, as options of a call. */
#include "upstream/private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define BLOT_BYTES_MIN 4

int call_add_line(struct curl_slist **lines, const char *line)
{
    struct curl_slist *longer = curl_slist_append(*lines, line);
    if (longer == NULL) {
        return -ENOMEM;
    }
    *lines = longer;
    return 0;
}

int call_add_authorization(struct curl_slist **lines, const char *value)
{
    char *line = NULL;
    if (asprintf(&line, "Authorization: %s", value) < 0) {
        return -ENOMEM;
    }
    int status = call_add_line(lines, line);
    explicit_bzero(line, strlen(line));
    free(line);
    return status;
}

/* Where the credential of an Authorization line begins, behind its scheme. NULL: another line. */
static const char *credential_of(const char *line)
{
    static const char name[] = "Authorization: ";
    if (strncasecmp(line, name, sizeof(name) - 1) != 0) {
        return NULL;
    }
    const char *blank = strchr(line + sizeof(name) - 1, ' ');
    return blank == NULL ? NULL : blank + 1;
}

static void blot_out(char *text, size_t bytes, const char *secret)
{
    size_t secret_bytes = strlen(secret);
    char *found;
    for (char *from = text; secret_bytes > 0 && (found = memmem(from, bytes - (size_t)(from - text),
                                                                secret, secret_bytes)) != NULL;
         from = found + secret_bytes) {
        memset(found, '*', secret_bytes);
    }
    /* At its end, as much of it as was kept. */
    for (size_t part = secret_bytes < bytes ? secret_bytes : bytes; part >= BLOT_BYTES_MIN;
         part--) {
        if (memcmp(text + bytes - part, secret, part) == 0) {
            memset(text + bytes - part, '*', part);
        }
    }
}

void outcome_hide_credential(struct outcome *outcome, const char *line)
{
    const char *credential = credential_of(line);
    if (credential != NULL) {
        blot_out(outcome->body, outcome->body_bytes, credential);
    }
}

void call_hide_credentials(struct upstream_call *call)
{
    for (const struct curl_slist *line = call->headers; line != NULL; line = line->next) {
        outcome_hide_credential(&call->outcome, line->data);
    }
}

const char *call_explain(const char *error)
{
    if (strncmp(error, "getpeername() failed", 20) == 0) {
        return "the gateway ended the new connection at once; over TLS: it may not take our "
               "certificate, or want one";
    }
    return error;
}

/* The content is given, not the path: so a connection is used again only by calls with the very
 * same certificates, and a file that changes under us is never half read. */
static bool set_blob(CURL *easy, CURLoption option, const char *pem)
{
    if (pem == NULL) {
        return true;
    }
    struct curl_blob blob = {
        .data = (void *)(uintptr_t)pem, .len = strlen(pem), .flags = CURL_BLOB_COPY};
    return curl_easy_setopt(easy, option, &blob) == CURLE_OK;
}

/* Where the authority of an http or https address starts and ends. */
static struct text authority_of(const char *url)
{
    const char *start = strstr(url, "://") + 3;
    return (struct text){.start = start, .bytes = strcspn(start, "/")};
}

/* The name that the certificate bears takes the host's place in the address, so that it is sent as
 * SNI and verified; the connection still goes to the host, and the Host header still names it. */
static bool set_server_name(struct upstream_call *call, const char *url, const char *name)
{
    CURL *easy = call->easy;
    struct text authority = authority_of(url);
    const char *colon = memrchr(authority.start, ':', authority.bytes);
    const char *bracket = memrchr(authority.start, ']', authority.bytes);
    if (colon != NULL && bracket != NULL && colon < bracket) {
        colon = NULL; /* of an IPv6 address without a port */
    }
    size_t port_bytes = colon == NULL ? 0 : (size_t)(authority.start + authority.bytes - colon);
    size_t host_bytes = authority.bytes - port_bytes;
    const char *port = colon == NULL ? (url[4] == 's' ? ":443" : ":80") : colon;
    int port_print = (int)(colon == NULL ? strlen(port) : port_bytes);
    char *named = NULL;
    char *connect_to = NULL;
    bool ok =
        asprintf(&named, "%.*s%s%.*s%s", (int)(authority.start - url), url, name, (int)port_bytes,
                 authority.start + host_bytes, authority.start + authority.bytes) >= 0 &&
        asprintf(&connect_to, "%s%.*s:%.*s%.*s", name, port_print, port, (int)host_bytes,
                 authority.start, port_print, port) >= 0 &&
        asprintf(&call->host_line, "Host: %.*s", (int)authority.bytes, authority.start) >= 0 &&
        call_add_line(&call->connect_to, connect_to) == 0;
    UPSTREAM_SET(CURLOPT_URL, named);
    UPSTREAM_SET(CURLOPT_CONNECT_TO, call->connect_to);
    free(named);
    free(connect_to);
    return ok;
}

bool call_set_up_identity(struct upstream_call *call, const char *url)
{
    const struct upstream_identity *identity = &call->upstream->identity;
    CURL *easy = call->easy;
    bool ok = true;
    call->generation = call->upstream->generation;
    UPSTREAM_SET(CURLOPT_URL, url);
    UPSTREAM_SET(CURLOPT_PROXY, identity->proxy_url != NULL ? identity->proxy_url : "");
    UPSTREAM_SET(CURLOPT_NOPROXY, ""); /* else the environment is asked, at each call */
    UPSTREAM_SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L); /* else a proxy's answer counts as one */
    UPSTREAM_SET(CURLOPT_SSLVERSION, (long)(identity->tls_1_3_only ? CURL_SSLVERSION_TLSv1_3
                                                                   : CURL_SSLVERSION_TLSv1_2));
    UPSTREAM_SET(CURLOPT_SSL_VERIFYPEER, identity->insecure_skip_verify ? 0L : 1L);
    UPSTREAM_SET(CURLOPT_SSL_VERIFYHOST, identity->insecure_skip_verify ? 0L : 2L);
    if (strncmp(url, "http:", 5) == 0 && identity->proxy_url == NULL) {
        /* Its defaults, which it copies for each call, needed or not. */
        UPSTREAM_SET(CURLOPT_CAINFO, NULL);
        UPSTREAM_SET(CURLOPT_CAPATH, NULL);
        UPSTREAM_SET(CURLOPT_PROXY_CAINFO, NULL);
        UPSTREAM_SET(CURLOPT_PROXY_CAPATH, NULL);
    }
    UPSTREAM_SET(CURLOPT_SSLCERTTYPE, "PEM");
    UPSTREAM_SET(CURLOPT_SSLKEYTYPE, "PEM");
    UPSTREAM_SET(CURLOPT_CA_CACHE_TIMEOUT, 60L); /* else the trust of a day ago may be used */
    ok = ok && set_blob(easy, CURLOPT_CAINFO_BLOB, identity->ca_pem) &&
         set_blob(easy, CURLOPT_SSLCERT_BLOB, identity->cert_pem) &&
         set_blob(easy, CURLOPT_SSLKEY_BLOB, identity->key_pem);
    if (ok && identity->server_name != NULL) {
        ok = set_server_name(call, url, identity->server_name);
    }
    return ok;
}
