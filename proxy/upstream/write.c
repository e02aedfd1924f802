/* A write by libcurl: its body goes out in pieces, its short answer comes in. Those by plain HTTP
 * go another way, see plain.c. */
#include "upstream/private.h"

#include "base/metrics.h"
#include "wire/answer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define UPLOAD_BUFFER_BYTES (256L * 1024L)

static size_t on_body_wanted(char *out, size_t size, size_t count, void *arg)
{
    struct upstream_call *call = arg;
    size_t room = size * count;
    size_t filled = 0;
    while (filled < room && call->piece < call->count) {
        const struct upstream_piece *piece = &call->pieces[call->piece];
        size_t bytes = piece->bytes - call->piece_offset;
        if (bytes > room - filled) {
            bytes = room - filled;
        }
        memcpy(out + filled, piece->data + call->piece_offset, bytes);
        filled += bytes;
        call->piece_offset += bytes;
        if (call->piece_offset == piece->bytes) {
            call->piece++;
            call->piece_offset = 0;
        }
    }
    return filled;
}

/* curl sends a POST again by itself when a reused connection proves dead before any answer. */
static int on_body_rewind(void *arg, curl_off_t offset, int origin)
{
    struct upstream_call *call = arg;
    if (offset != 0 || origin != SEEK_SET) {
        return CURL_SEEKFUNC_FAIL;
    }
    call->piece = 0;
    call->piece_offset = 0;
    metrics_add(call->upstream->settings.metrics, METRIC_GATEWAY_REPLAYS, 1);
    return CURL_SEEKFUNC_OK;
}

static bool is_status_line(const char *line, size_t bytes)
{
    return bytes >= 5 && memcmp(line, "HTTP/", 5) == 0;
}

/* How much of so many bytes more is taken: none beyond the bounds, which ends the call. */
static size_t count_answer(struct upstream_call *call, size_t bytes)
{
    call->answer_bytes += bytes;
    return call->answer_bytes <= ANSWER_BYTES_MAX ? bytes : 0;
}

/* Counted together with the body: curl keeps each line, those of trailers without a bound. */
static size_t on_write_header(char *line, size_t size, size_t count, void *arg)
{
    struct upstream_call *call = arg;
    size_t bytes = size * count;
    struct text name;
    struct text value;
    if (is_status_line(line, bytes)) {
        call->head_whole = false;
        if (bytes < 7 || memcmp(line, "HTTP/1.", 7) != 0) {
            return 0; /* we asked for nothing else, curl takes it */
        }
    } else if (line[0] == '\r' || line[0] == '\n') {
        call->head_whole = true;
    } else if (call_split_line(line, bytes, &name, &value) && text_is(name, "retry-after")) {
        call->outcome.retry_after_s = verdict_parse_retry_after(value.start, value.bytes);
    }
    return count_answer(call, bytes);
}

bool call_write_refused_at_length(const struct upstream_call *call, long status)
{
    return call->answer_bytes > ANSWER_BYTES_MAX && call->head_whole && status >= 300;
}

/* curl takes a head that the end of the connection cut short for a whole one. And where an early
 * answer comes with the end of the connection, it sends no more of the body and is content. */
const char *call_write_flaw(const struct upstream_call *call, long status)
{
    curl_off_t sent_bytes = 0;
    (void)curl_easy_getinfo(call->easy, CURLINFO_SIZE_UPLOAD_T, &sent_bytes);
    if (!call->head_whole) {
        return "the answer ends within its head";
    }
    if (status / 100 == 2 && (sent_bytes < 0 || (uint64_t)sent_bytes < call->request_bytes)) {
        return "accepted before the body was sent";
    }
    return NULL;
}

static size_t on_write_answer(char *data, size_t size, size_t count, void *arg)
{
    struct upstream_call *call = arg;
    struct outcome *outcome = &call->outcome;
    size_t bytes = size * count;
    size_t room = OUTCOME_BODY_MAX - outcome->body_bytes;
    size_t kept = bytes < room ? bytes : room;
    memcpy(outcome->body + outcome->body_bytes, data, kept);
    outcome->body_bytes += kept;
    return count_answer(call, bytes);
}

bool call_set_up_write(struct upstream_call *call)
{
    const struct upstream *upstream = call->upstream;
    CURL *easy = call->easy;
    bool ok = true;
    for (const struct curl_slist *line = upstream->write_headers; ok && line != NULL;
         line = line->next) {
        ok = call_add_line(&call->headers, line->data) == 0;
    }
    if (ok && upstream->identity.authorization != NULL) {
        ok = call_add_authorization(&call->headers, upstream->identity.authorization) == 0;
    }
    ok = ok && call_set_up_identity(call, upstream->write_url);
    if (ok && call->host_line != NULL) {
        ok = call_add_line(&call->headers, call->host_line) == 0;
    }
    UPSTREAM_SET(CURLOPT_HTTPHEADER, call->headers);
    UPSTREAM_SET(CURLOPT_POST, 1L);
    UPSTREAM_SET(CURLOPT_READFUNCTION, on_body_wanted);
    UPSTREAM_SET(CURLOPT_READDATA, call);
    UPSTREAM_SET(CURLOPT_SEEKFUNCTION, on_body_rewind);
    UPSTREAM_SET(CURLOPT_SEEKDATA, call);
    UPSTREAM_SET(CURLOPT_HEADERFUNCTION, on_write_header);
    UPSTREAM_SET(CURLOPT_WRITEFUNCTION, on_write_answer);
    UPSTREAM_SET(CURLOPT_TIMEOUT_MS, (long)(upstream->settings.write_timeout_us / 1000));
    UPSTREAM_SET(CURLOPT_UPLOAD_BUFFERSIZE, UPLOAD_BUFFER_BYTES);
    return ok;
}

int upstream_write(struct upstream *upstream, const struct upstream_piece *pieces, size_t count,
                   size_t bytes, upstream_on_done *on_done, void *arg)
{
    if (plain_serves(upstream)) {
        return plain_write(upstream, pieces, count, bytes, on_done, arg);
    }
    struct upstream_call *call = call_take(upstream, CALL_WRITE);
    if (call == NULL) {
        return -ENOMEM;
    }
    call->pieces = pieces;
    call->count = count;
    call->piece = 0;
    call->piece_offset = 0;
    call->request_bytes = bytes;
    call->head_whole = false;
    if (curl_easy_setopt(call->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)bytes) != CURLE_OK ||
        call_start(call, on_done, arg) != 0) {
        call_put(call);
        return -ENOMEM;
    }
    return 0;
}
