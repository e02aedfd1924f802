/* Ask one address once, and wait. */
#include "upstream/upstream.h"

#include <curl/curl.h>
#include <stdio.h>

#define TIMEOUT_MS 5000L

static size_t drop(char *data, size_t size, size_t count, void *arg)
{
    (void)data;
    (void)arg;
    return size * count;
}

unsigned upstream_probe(const char *url, char *error, size_t error_bytes)
{
    CURL *easy = curl_easy_init();
    long status = 0;
    CURLcode code = CURLE_OUT_OF_MEMORY;
    if (easy != NULL) {
        (void)curl_easy_setopt(easy, CURLOPT_URL, url);
        (void)curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
        (void)curl_easy_setopt(easy, CURLOPT_PROXY, "");
        (void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
        (void)curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, TIMEOUT_MS);
        (void)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
        (void)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
        (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, drop);
        code = curl_easy_perform(easy);
        (void)curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    }
    curl_easy_cleanup(easy);
    if (code != CURLE_OK) {
        (void)snprintf(error, error_bytes, "%s", curl_easy_strerror(code));
        return 0;
    }
    return (unsigned)status;
}
