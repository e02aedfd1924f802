/* Reads and checks certificates. Owns nothing after it returns. */
#include "config/identity.h"

#include "base/alloc.h"
#include "config/pem.h"
#include "config/secret.h"

#include <string.h>
#include <time.h>

void identity_deinit(struct identity_sources *sources)
{
    reader_source_deinit(&sources->cert);
    reader_source_deinit(&sources->key);
    reader_source_deinit(&sources->ca);
}

void identity_set_file(struct reader_source *source, const char *flag, const char *path)
{
    if (path != NULL) {
        reader_source_deinit(source);
        source->where = alloc_copy(flag, strlen(flag));
        source->path = alloc_copy(path, strlen(path));
    }
}

/* Refuse what a source holds; its path, where it has one, is told. */
static int identity_refuse(struct reader *reader, const struct reader_source *source,
                           const char *reason)
{
    return source->path == NULL
               ? reader_refuse(reader, source->where, "%s", reason)
               : reader_refuse(reader, source->where, "%s: %s", source->path, reason);
}

int identity_read_pair(struct reader *reader, const struct identity_sources *sources,
                       char **cert_pem, char **key_pem)
{
    char error[PEM_ERROR_BYTES];
    bool has_cert = reader_source_is_given(&sources->cert);
    bool has_key = reader_source_is_given(&sources->key);
    if (!has_cert && !has_key) {
        return 0;
    }
    if (!has_cert || !has_key) {
        const struct reader_source *given = has_cert ? &sources->cert : &sources->key;
        return reader_refuse(reader, given->where,
                             has_cert ? "the certificate is given without its private key"
                                      : "the private key is given without its certificate");
    }
    char *cert = NULL;
    char *key = NULL;
    int result = reader_read_source(reader, &sources->cert, &cert);
    if (result == 0) {
        result = reader_read_source(reader, &sources->key, &key);
    }
    if (result == 0) {
        enum pem_fault fault = pem_check_pair(cert, key, (int64_t)time(NULL), error);
        if (fault != PEM_OK) {
            result =
                identity_refuse(reader, fault == PEM_KEY ? &sources->key : &sources->cert, error);
        }
    }
    if (result < 0) {
        secret_free(cert);
        secret_free(key);
        return result;
    }
    *cert_pem = cert;
    *key_pem = key;
    return 0;
}

int identity_read_ca(struct reader *reader, const struct identity_sources *sources, char **ca_pem)
{
    char error[PEM_ERROR_BYTES];
    char *ca = NULL;
    if (!reader_source_is_given(&sources->ca)) {
        return 0;
    }
    int result = reader_read_source(reader, &sources->ca, &ca);
    if (result == 0 && pem_check_ca(ca, error) < 0) {
        result = identity_refuse(reader, &sources->ca, error);
    }
    if (result < 0) {
        secret_free(ca);
        return result;
    }
    *ca_pem = ca;
    return 0;
}
