/* HTTP/1.1 messages; see http.h. */
#include "bench/http.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

bool http_span_is(struct http_span span, const char *text)
{
    return strlen(text) == span.bytes && strncasecmp(span.data, text, span.bytes) == 0;
}

static bool span_contains(struct http_span span, const char *word)
{
    size_t bytes = strlen(word);
    for (size_t i = 0; i + bytes <= span.bytes; i++) {
        if (strncasecmp(span.data + i, word, bytes) == 0) {
            return true;
        }
    }
    return false;
}

/* Take a line off the front, without its CRLF or LF. False when there is no whole line. */
static bool take_line(struct http_span *text, struct http_span *line)
{
    const char *end = text->bytes == 0 ? NULL : memchr(text->data, '\n', text->bytes);
    if (end == NULL) {
        return false;
    }
    size_t bytes = (size_t)(end - text->data);
    *line = (struct http_span){text->data, bytes};
    if (line->bytes > 0 && line->data[line->bytes - 1] == '\r') {
        line->bytes--;
    }
    text->data += bytes + 1;
    text->bytes -= bytes + 1;
    return true;
}

static struct http_span trim(struct http_span span)
{
    while (span.bytes > 0 && (span.data[0] == ' ' || span.data[0] == '\t')) {
        span.data++;
        span.bytes--;
    }
    while (span.bytes > 0 &&
           (span.data[span.bytes - 1] == ' ' || span.data[span.bytes - 1] == '\t')) {
        span.bytes--;
    }
    return span;
}

bool http_head_field(const struct http_head *head, const char *name, struct http_span *value)
{
    struct http_span rest = head->fields;
    struct http_span line;
    size_t bytes = strlen(name);
    while (take_line(&rest, &line)) {
        if (line.bytes > bytes && line.data[bytes] == ':' &&
            strncasecmp(line.data, name, bytes) == 0) {
            *value = trim((struct http_span){line.data + bytes + 1, line.bytes - bytes - 1});
            return true;
        }
    }
    return false;
}

static bool parse_number(struct http_span span, unsigned base, uint64_t *number)
{
    uint64_t value = 0;
    size_t i = 0;
    for (; i < span.bytes; i++) {
        char c = span.data[i];
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                         : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A') + 10
                                                : 99;
        if (digit >= base || value > UINT64_MAX / 32) {
            break;
        }
        value = value * base + digit;
    }
    if (i == 0 || (i < span.bytes && span.data[i] != ';' && span.data[i] != ' ')) {
        return false;
    }
    *number = value;
    return true;
}

static bool parse_request_line(struct http_span line, struct http_head *head)
{
    const char *first = memchr(line.data, ' ', line.bytes);
    if (first == NULL) {
        return false;
    }
    size_t method_bytes = (size_t)(first - line.data);
    size_t rest_bytes = line.bytes - method_bytes - 1;
    const char *second = memchr(first + 1, ' ', rest_bytes);
    if (second == NULL) {
        return false;
    }
    head->method = (struct http_span){line.data, method_bytes};
    head->target = (struct http_span){first + 1, (size_t)(second - first - 1)};
    struct http_span version = {second + 1, line.bytes - (size_t)(second + 1 - line.data)};
    head->keep_alive = http_span_is(version, "HTTP/1.1");
    return version.bytes == 8 && strncmp(version.data, "HTTP/1.", 7) == 0;
}

static bool parse_status_line(struct http_span line, struct http_head *head)
{
    uint64_t status;
    if (line.bytes < 12 || strncmp(line.data, "HTTP/1.", 7) != 0 || line.data[8] != ' ' ||
        !parse_number((struct http_span){line.data + 9, 3}, 10, &status) || status < 100) {
        return false;
    }
    head->status = (unsigned)status;
    head->keep_alive = line.data[7] == '1';
    return true;
}

static bool parse_fields(struct http_head *head)
{
    struct http_span value;
    if (http_head_field(head, "content-length", &value)) {
        head->has_length = true;
        if (!parse_number(value, 10, &head->content_length)) {
            return false;
        }
    }
    if (http_head_field(head, "transfer-encoding", &value)) {
        head->chunked = span_contains(value, "chunked");
        if (!head->chunked || head->has_length) {
            return false;
        }
    }
    if (http_head_field(head, "connection", &value)) {
        head->keep_alive =
            head->keep_alive ? !span_contains(value, "close") : span_contains(value, "keep-alive");
    }
    if (http_head_field(head, "expect", &value)) {
        head->expects_continue = span_contains(value, "100-continue");
    }
    return true;
}

/* Length of the head with its empty line; 0 while it is incomplete. */
static size_t head_bytes(const char *data, size_t bytes)
{
    const char *end = memmem(data, bytes, "\r\n\r\n", 4);
    return end == NULL ? 0 : (size_t)(end - data) + 4;
}

int http_head_parse(enum http_kind kind, const void *data, size_t bytes, struct http_head *head)
{
    size_t total = bytes == 0 ? 0 : head_bytes(data, bytes);
    if (total == 0) {
        return bytes > HTTP_HEAD_BYTES_MAX ? -1 : 0;
    }
    struct http_head parsed = {.bytes = total};
    struct http_span rest = {data, total - 2};
    struct http_span line;
    if (total > HTTP_HEAD_BYTES_MAX || !take_line(&rest, &line)) {
        return -1;
    }
    bool fine =
        kind == HTTP_REQUEST ? parse_request_line(line, &parsed) : parse_status_line(line, &parsed);
    parsed.fields = rest;
    if (!fine || !parse_fields(&parsed)) {
        return -1;
    }
    *head = parsed;
    return 1;
}

void http_reader_init(struct http_reader *reader, enum http_kind kind)
{
    *reader = (struct http_reader){.kind = kind};
}

void http_reader_deinit(struct http_reader *reader)
{
    bytes_free(&reader->text);
}

void http_reader_reset(struct http_reader *reader)
{
    reader->state = HTTP_STATE_HEAD;
    reader->text.size = 0;
    reader->remaining = 0;
}

bool http_reader_is_idle(const struct http_reader *reader)
{
    return reader->state == HTTP_STATE_HEAD && reader->text.size == 0;
}

bool http_reader_ends_by_close(const struct http_reader *reader)
{
    return reader->state == HTTP_STATE_TO_END;
}

void http_reader_skip(struct http_reader *reader, size_t bytes)
{
    assert(reader->state == HTTP_STATE_LENGTH && bytes <= reader->remaining);
    reader->remaining -= bytes;
    if (reader->remaining == 0) {
        reader->state = HTTP_STATE_DONE;
    }
}

static enum http_state state_after_head(const struct http_reader *reader)
{
    const struct http_head *head = &reader->head;
    if (reader->kind == HTTP_ANSWER &&
        (head->status < 200 || head->status == 204 || head->status == 304)) {
        return HTTP_STATE_DONE;
    }
    if (head->chunked) {
        return HTTP_STATE_CHUNK_LINE;
    }
    if (head->has_length) {
        return head->content_length == 0 ? HTTP_STATE_DONE : HTTP_STATE_LENGTH;
    }
    return reader->kind == HTTP_REQUEST ? HTTP_STATE_DONE : HTTP_STATE_TO_END;
}

static enum http_event read_head(struct http_reader *reader, struct http_span *input)
{
    size_t before = reader->text.size;
    size_t room = HTTP_HEAD_BYTES_MAX + 1 - before;
    size_t taken = input->bytes < room ? input->bytes : room;
    bytes_append(&reader->text, input->data, taken);
    int found = http_head_parse(reader->kind, reader->text.data, reader->text.size, &reader->head);
    if (found < 0) {
        return HTTP_BAD;
    }
    if (found > 0) {
        taken = reader->head.bytes - before;
        reader->text.size = reader->head.bytes;
        reader->line_at = reader->text.size;
        reader->remaining = reader->head.content_length;
        reader->state = state_after_head(reader);
        /* A chunk's line must not move the head, which spans point into. */
        if (reader->text.capacity < HTTP_HEAD_BYTES_MAX * 2 && reader->head.chunked) {
            bytes_reserve(&reader->text, (size_t)HTTP_HEAD_BYTES_MAX * 2);
            if (http_head_parse(reader->kind, reader->text.data, reader->text.size,
                                &reader->head) <= 0) {
                return HTTP_BAD;
            }
        }
    }
    input->data += taken;
    input->bytes -= taken;
    return found > 0 ? HTTP_HEAD : HTTP_MORE;
}

/* Collect a line of the chunked framing behind the head. False while it is incomplete. */
static bool read_line(struct http_reader *reader, struct http_span *input, struct http_span *line)
{
    while (input->bytes > 0 && reader->text.size < (size_t)HTTP_HEAD_BYTES_MAX * 2) {
        char c = input->data[0];
        bytes_append(&reader->text, &c, 1);
        input->data++;
        input->bytes--;
        if (c == '\n') {
            struct http_span rest = {(const char *)reader->text.data + reader->line_at,
                                     reader->text.size - reader->line_at};
            reader->text.size = reader->line_at;
            return take_line(&rest, line);
        }
    }
    return false;
}

static enum http_event read_framing(struct http_reader *reader, struct http_span *input)
{
    struct http_span line;
    if (!read_line(reader, input, &line)) {
        return input->bytes > 0 ? HTTP_BAD : HTTP_MORE;
    }
    if (reader->state == HTTP_STATE_CHUNK_LINE) {
        if (!parse_number(line, 16, &reader->remaining)) {
            return HTTP_BAD;
        }
        reader->state = reader->remaining == 0 ? HTTP_STATE_TRAILER : HTTP_STATE_CHUNK;
    } else if (reader->state == HTTP_STATE_CHUNK_END) {
        if (line.bytes != 0) {
            return HTTP_BAD;
        }
        reader->state = HTTP_STATE_CHUNK_LINE;
    } else if (line.bytes == 0) {
        reader->state = HTTP_STATE_DONE;
    }
    return HTTP_HEAD; /* not seen outside: go on */
}

static enum http_event read_body(struct http_reader *reader, struct http_span *input,
                                 struct http_span *body)
{
    size_t taken = input->bytes;
    if (reader->state != HTTP_STATE_TO_END) {
        taken = taken < reader->remaining ? taken : (size_t)reader->remaining;
        reader->remaining -= taken;
        if (reader->remaining == 0) {
            reader->state =
                reader->state == HTTP_STATE_CHUNK ? HTTP_STATE_CHUNK_END : HTTP_STATE_DONE;
        }
    }
    *body = (struct http_span){input->data, taken};
    input->data += taken;
    input->bytes -= taken;
    return HTTP_BODY;
}

enum http_event http_reader_next(struct http_reader *reader, struct http_span *input,
                                 struct http_span *body)
{
    for (;;) {
        if (reader->state == HTTP_STATE_DONE) {
            return HTTP_DONE;
        }
        if (input->bytes == 0) {
            return HTTP_MORE;
        }
        if (reader->state == HTTP_STATE_HEAD) {
            return read_head(reader, input);
        }
        if (reader->state == HTTP_STATE_LENGTH || reader->state == HTTP_STATE_CHUNK ||
            reader->state == HTTP_STATE_TO_END) {
            return read_body(reader, input, body);
        }
        enum http_event event = read_framing(reader, input);
        if (event != HTTP_HEAD) {
            return event;
        }
    }
}
