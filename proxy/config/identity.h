/* Certificates as they come from flags and documents: read, and checked as a whole. */
#ifndef AGENT_PROXY_CONFIG_IDENTITY_H
#define AGENT_PROXY_CONFIG_IDENTITY_H

#include "config/reader.h"

/* A certificate with its key, and whom to trust; each may be missing. Owner: who filled it. */
struct identity_sources {
    struct reader_source cert;
    struct reader_source key;
    struct reader_source ca;
};

void identity_deinit(struct identity_sources *sources);

/* Fill a source with a path that a flag gives; NULL: it stays empty. */
void identity_set_file(struct reader_source *source, const char *flag, const char *path);

/* Read certificate and key, if given. Owner: the caller, with secret_free().
 * Errors: negative, and one line in the reader's error: one without the other, no PEM, an encrypted
 * key, a pair that is none, a certificate that has expired. */
__attribute__((warn_unused_result)) int identity_read_pair(struct reader *reader,
                                                           const struct identity_sources *sources,
                                                           char **cert_pem, char **key_pem);

/* Read whom to trust, if given. Owner and errors: as above. */
__attribute__((warn_unused_result)) int
identity_read_ca(struct reader *reader, const struct identity_sources *sources, char **ca_pem);

#endif
