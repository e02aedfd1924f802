/* A read: its answer streams back to callbacks, with pauses. */
#include "io/upstream_private.h"

#include <string.h>
#include <strings.h>

#define READ_BUFFER_BYTES (64L * 1024L)
#define HEAD_BYTES_MAX                                                         \
    (128U * 1024U) /* of all heads and trailers of one answer: curl keeps them \
                    */

/* "HTTP/1.1 200 OK": the head of one answer begins, maybe of an interim one. */
static unsigned status_of(const char *line, size_t bytes)
{
    const char *blank = memchr(line, ' ', bytes);
    if (blank == NULL || bytes - (size_t)(blank - line) < 4) {
        return 0;
    }
    unsigned status = 0;
    for (size_t i = 1; i <= 3; i++) {
        if (blank[i] < '0' || blank[i] > '9') {
            return 0;
        }
        status = status * 10 + (unsigned)(blank[i] - '0');
    }
    return status;
}

static size_t on_read_header(char *line, size_t size, size_t count, void *arg)
{
    struct upstream_call *call = arg;
    const struct upstream_read *read = &call->read;
    size_t bytes = size * count;
    struct text name;
    struct text value;
    call->answer_bytes += bytes;
    if (call->answer_bytes > HEAD_BYTES_MAX) {
        return 0;
    }
    if (bytes >= 5 && memcmp(line, "HTTP/", 5) == 0) {
        call->status = status_of(line, bytes);
        call->body_bytes = UPSTREAM_BODY_UNKNOWN;
    } else if (call->status < 200) {
        return bytes; /* of an interim answer, or a trailer behind the body */
    } else if (call_split_line(line, bytes, &name, &value)) {
        if (text_is(name, "content-length") && !field_number(value, &call->body_bytes)) {
            return 0;
        }
        read->on_header(read->arg, name.start, name.bytes, value.start, value.bytes);
    } else if (line[0] == '\r' || line[0] == '\n') {
        read->on_head(read->arg, call->status, call->body_bytes);
        call->status = 0;
    }
    return bytes;
}

static size_t on_read_answer(char *data, size_t size, size_t count, void *arg)
{
    struct upstream_call *call = arg;
    bool taken = call->read.on_data(call->read.arg, (const uint8_t *)data, size * count);
    return taken ? size * count : CURL_WRITEFUNC_PAUSE;
}

bool call_set_up_read(struct upstream_call *call)
{
    CURL *easy = call->easy;
    bool ok = true;
    ok = call_set_up_identity(call, call->upstream->read_url);
    UPSTREAM_SET(CURLOPT_HEADERFUNCTION, on_read_header);
    UPSTREAM_SET(CURLOPT_WRITEFUNCTION, on_read_answer);
    UPSTREAM_SET(CURLOPT_BUFFERSIZE, READ_BUFFER_BYTES);
    UPSTREAM_SET(CURLOPT_HTTP_CONTENT_DECODING, 0L);
    return ok;
}

/* What differs from read to read. The address is fixed and the target goes out as it is, so no
 * parser of ours or of curl's can read one for another. */
static bool set_up_this_read(struct upstream_call *call)
{
    const struct upstream_read *read = &call->read;
    CURL *easy = call->easy;
    bool ok = true;
    if (read->method == ROUTE_METHOD_POST) {
        UPSTREAM_SET(CURLOPT_POST, 1L);
        UPSTREAM_SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)read->body_bytes);
        UPSTREAM_SET(CURLOPT_POSTFIELDS, read->body_bytes > 0 ? (const char *)read->body : "");
    } else {
        UPSTREAM_SET(CURLOPT_HTTPGET, 1L);
        UPSTREAM_SET(CURLOPT_NOBODY, read->method == ROUTE_METHOD_HEAD ? 1L : 0L);
    }
    UPSTREAM_SET(CURLOPT_REQUEST_TARGET, read->target);
    bool authorized = false;
    for (size_t i = 0; ok && read->headers[i] != NULL; i++) {
        authorized = authorized || strncasecmp(read->headers[i], "Authorization:", 14) == 0;
        ok = call_add_line(&call->headers, read->headers[i]) == 0;
    }
    const struct upstream *upstream = call->upstream;
    if (ok && !authorized && upstream->identity.authorization != NULL) {
        ok = call_add_authorization(&call->headers, upstream->identity.authorization) == 0;
    }
    if (ok && call->host_line != NULL) {
        ok = call_add_line(&call->headers, call->host_line) == 0;
    }
    UPSTREAM_SET(CURLOPT_HTTPHEADER, call->headers);
    return ok;
}

struct upstream_call *upstream_read(struct upstream *upstream, const struct upstream_read *read)
{
    struct upstream_call *call = call_take(upstream, CALL_READ);
    if (call == NULL) {
        return NULL;
    }
    call->read = *read;
    call->status = 0;
    if (!set_up_this_read(call) || call_start(call, read->on_done, read->arg) != 0) {
        call_put(call);
        return NULL;
    }
    return call;
}

void upstream_resume(struct upstream_call *call)
{
    call->resume = true;
    call->upstream->resumes = true;
}
