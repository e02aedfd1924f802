/* HTTP/1.1 answers. Pure; owns nothing. */
#include "wire/answer.h"

#include "wire/field.h"
#include "wire/verdict.h"

#include <errno.h>
#include <string.h>

static int refuse(struct answer *answer, const char *reason)
{
    answer->reason = reason;
    return -EBADMSG;
}

/* -- Heads ------------------------------------------------------------------------------------ */

/* "HTTP/1.1 200 OK". Many leave the reason out, and some the blank before it. */
static int take_status_line(struct answer *answer, struct text line)
{
    static const char version[] = "HTTP/1.";
    const size_t minor = sizeof(version) - 1;
    const size_t status = minor + 2;
    uint64_t number;
    if (line.bytes < status + 3 || memcmp(line.start, version, minor) != 0 ||
        (line.start[minor] != '0' && line.start[minor] != '1') || line.start[minor + 1] != ' ') {
        return refuse(answer, "no status line of HTTP/1.1");
    }
    if (!field_number((struct text){.start = line.start + status, .bytes = 3}, &number) ||
        (line.bytes > status + 3 && line.start[status + 3] != ' ') || number < 100 ||
        number > 599) {
        return refuse(answer, "a status that there is not");
    }
    if (number == 101) {
        return refuse(answer, "another protocol, which nobody asked for");
    }
    answer->head =
        (struct answer_head){.status = (unsigned)number, .http_1_0 = line.start[minor] == '0'};
    answer->state = ANSWER_FIELDS;
    return 0;
}

/* The same length again may be taken for one (RFC 9112, section 6.3), by who does not count on the
 * connection any more. */
static int add_length(struct answer *answer, struct text value)
{
    struct answer_head *head = &answer->head;
    uint64_t length;
    if (!field_number(value, &length)) {
        return refuse(answer, "Content-Length is not a number");
    }
    if (head->has_length && length != head->length) {
        return refuse(answer, "two Content-Lengths");
    }
    head->close = head->close || head->has_length;
    head->has_length = true;
    head->length = length;
    return 0;
}

static int add_coding(struct answer *answer, struct text value)
{
    if (answer->head.chunked) {
        return refuse(answer, "repeated Transfer-Encoding");
    }
    if (!text_is(value, "chunked")) {
        return refuse(answer, "transfer coding is not chunked");
    }
    answer->head.chunked = true;
    return 0;
}

static void add_connection(struct answer_head *head, struct text value)
{
    struct text option;
    while (text_next(&value, &option)) {
        head->close = head->close || text_is(option, "close");
        head->keep_alive = head->keep_alive || text_is(option, "keep-alive");
    }
}

/* A blank before the colon, and a line that goes on with the one before it, are no tokens. */
static bool split_field(struct text line, struct text *name, struct text *value)
{
    const char *colon = memchr(line.start, ':', line.bytes);
    if (colon == NULL) {
        return false;
    }
    *name = (struct text){.start = line.start, .bytes = (size_t)(colon - line.start)};
    *value = text_trim((struct text){.start = colon + 1, .bytes = line.bytes - name->bytes - 1});
    return field_name_valid(*name);
}

static int take_field(struct answer *answer, struct text line)
{
    struct text name;
    struct text value;
    if (!split_field(line, &name, &value)) {
        return refuse(answer, "a line in the head that is no header");
    }
    if (text_is(name, "Content-Length")) {
        return add_length(answer, value);
    }
    if (text_is(name, "Transfer-Encoding")) {
        return add_coding(answer, value);
    }
    if (text_is(name, "Connection")) {
        add_connection(&answer->head, value);
    } else if (text_is(name, "Retry-After")) {
        answer->head.retry_after_s = verdict_parse_retry_after(value.start, value.bytes);
    }
    return 0;
}

/* Beyond the bounds. What refuses has said so by its head; what accepts makes no sense, and is
 * none.
 */
static int cut_short(struct answer *answer)
{
    struct outcome *outcome = answer->outcome;
    if (outcome->status < 300) {
        return refuse(answer, "the answer is too long");
    }
    answer->keep_alive = false;
    answer->left = OUTCOME_BODY_MAX - outcome->body_bytes;
    answer->state = answer->left > 0 ? ANSWER_BODY : ANSWER_WHOLE;
    return 0;
}

static int finish_interim(struct answer *answer)
{
    if (answer->head.chunked || answer->head.length > 0) {
        return refuse(answer, "an interim answer with a body");
    }
    if (++answer->interims > ANSWER_INTERIM_MAX) {
        return refuse(answer, "too many interim answers");
    }
    answer->state = ANSWER_STATUS_LINE;
    return 0;
}

static int finish_head(struct answer *answer)
{
    const struct answer_head *head = &answer->head;
    if (head->status < 200) {
        return finish_interim(answer);
    }
    if (head->chunked && (head->has_length || head->http_1_0)) {
        return refuse(answer, "Transfer-Encoding with Content-Length, or in HTTP/1.0");
    }
    answer->outcome->status = head->status;
    answer->outcome->retry_after_s = head->retry_after_s;
    answer->keep_alive = !head->close && (!head->http_1_0 || head->keep_alive);
    answer->left = head->length;
    if (head->status == 204 || head->status == 304) {
        /* Without a body whatever the head says; but where it speaks of one, one may follow. */
        answer->keep_alive = answer->keep_alive && !head->chunked && head->length == 0;
        answer->state = ANSWER_WHOLE;
    } else if (head->length > ANSWER_BYTES_MAX) {
        return cut_short(answer);
    } else if (head->chunked) {
        answer->state = ANSWER_CHUNK_SIZE;
    } else if (head->has_length) {
        answer->state = head->length > 0 ? ANSWER_BODY : ANSWER_WHOLE;
    } else {
        answer->keep_alive = false;
        answer->state = ANSWER_BODY_TO_END;
    }
    return 0;
}

/* -- Bodies ----------------------------------------------------------------------------------- */

static int hex_of(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Extensions are passed over. */
static int take_chunk_size(struct answer *answer, struct text line)
{
    uint64_t size = 0;
    size_t digits = 0;
    for (; digits < line.bytes && hex_of(line.start[digits]) >= 0; digits++) {
        size = size * 16 + (uint64_t)hex_of(line.start[digits]);
        if (size > ANSWER_BYTES_MAX) {
            return cut_short(answer);
        }
    }
    struct text rest =
        text_trim((struct text){.start = line.start + digits, .bytes = line.bytes - digits});
    if (digits == 0 || (rest.bytes > 0 && rest.start[0] != ';')) {
        return refuse(answer, "the size of a chunk is not a number");
    }
    answer->left = size;
    answer->state = size > 0 ? ANSWER_CHUNK : ANSWER_TRAILERS;
    return 0;
}

static int take_trailer(struct answer *answer, struct text line)
{
    struct text name;
    struct text value;
    if (line.bytes == 0) {
        answer->state = ANSWER_WHOLE;
        return 0;
    }
    return split_field(line, &name, &value) ? 0 : refuse(answer, "a trailer that is no header");
}

static void take_body(struct answer *answer, struct text *rest)
{
    struct outcome *outcome = answer->outcome;
    bool counted = answer->state != ANSWER_BODY_TO_END;
    size_t bytes = counted && answer->left < rest->bytes ? (size_t)answer->left : rest->bytes;
    size_t room = OUTCOME_BODY_MAX - outcome->body_bytes;
    size_t kept = bytes < room ? bytes : room;
    memcpy(outcome->body + outcome->body_bytes, rest->start, kept);
    outcome->body_bytes += kept;
    rest->start += bytes;
    rest->bytes -= bytes;
    if (counted) {
        answer->left -= bytes;
        if (answer->left == 0) {
            answer->state = answer->state == ANSWER_BODY ? ANSWER_WHOLE : ANSWER_CHUNK_END;
        }
    }
}

/* -- Lines ------------------------------------------------------------------------------------ */

/* A bare line feed ends a line of a head, as RFC 9112, section 2.2 allows; among chunks, where
 * others may look for the whole end of a line only, it does not. */
static int take_whole_line(struct answer *answer, struct text line)
{
    line.bytes--;
    bool strict = line.bytes > 0 && line.start[line.bytes - 1] == '\r';
    line.bytes -= strict;
    if (!field_value_valid(line)) {
        return refuse(answer, "a control character in a line");
    }
    switch (answer->state) {
    case ANSWER_STATUS_LINE:
        return take_status_line(answer, line);
    case ANSWER_FIELDS:
        return line.bytes > 0 ? take_field(answer, line) : finish_head(answer);
    case ANSWER_CHUNK_SIZE:
        return strict ? take_chunk_size(answer, line)
                      : refuse(answer, "the size of a chunk ends in a bare line feed");
    case ANSWER_CHUNK_END:
        if (!strict || line.bytes > 0) {
            return refuse(answer, "a chunk is longer than it says");
        }
        answer->state = ANSWER_CHUNK_SIZE;
        return 0;
    case ANSWER_TRAILERS:
        return take_trailer(answer, line);
    case ANSWER_BODY:
    case ANSWER_BODY_TO_END:
    case ANSWER_CHUNK:
    case ANSWER_WHOLE:
        break;
    }
    return refuse(answer, "a line where there is none");
}

/* Mostly a line comes in one piece and is looked at where it is. */
static int take_line(struct answer *answer, struct text *rest)
{
    const char *feed = memchr(rest->start, '\n', rest->bytes);
    size_t bytes = feed == NULL ? rest->bytes : (size_t)(feed - rest->start) + 1;
    struct text line = {.start = rest->start, .bytes = bytes};
    if (bytes > ANSWER_LINE_BYTES_MAX - answer->line_bytes) {
        return refuse(answer, "a line is too long");
    }
    rest->start += bytes;
    rest->bytes -= bytes;
    if (feed == NULL || answer->line_bytes > 0) {
        memcpy(answer->line + answer->line_bytes, line.start, bytes);
        answer->line_bytes += bytes;
        line = (struct text){.start = answer->line, .bytes = answer->line_bytes};
    }
    if (feed == NULL) {
        return 0;
    }
    answer->line_bytes = 0;
    return take_whole_line(answer, line);
}

/* -- Life ------------------------------------------------------------------------------------- */

void answer_init(struct answer *answer, struct outcome *outcome)
{
    memset(answer, 0, offsetof(struct answer, line));
    answer->outcome = outcome;
    outcome->status = 0;
    outcome->retry_after_s = 0;
    outcome->body_bytes = 0;
}

bool answer_whole(const struct answer *answer)
{
    return answer->state == ANSWER_WHOLE && answer->reason == NULL;
}

int answer_add(struct answer *answer, const char *data, size_t bytes, size_t *taken)
{
    size_t room = ANSWER_BYTES_MAX - answer->bytes;
    size_t looked_at = bytes < room ? bytes : room;
    struct text rest = {.start = data, .bytes = looked_at};
    int status = answer->reason == NULL ? 0 : -EBADMSG;
    while (status == 0 && rest.bytes > 0 && answer->state != ANSWER_WHOLE) {
        if (answer->state == ANSWER_BODY || answer->state == ANSWER_BODY_TO_END ||
            answer->state == ANSWER_CHUNK) {
            take_body(answer, &rest);
        } else {
            status = take_line(answer, &rest);
        }
    }
    answer->bytes += looked_at - rest.bytes;
    if (status == 0 && answer->state != ANSWER_WHOLE && looked_at < bytes) {
        status = cut_short(answer);
        answer->state =
            ANSWER_WHOLE; /* nothing more is taken in, for the rest of its words either */
    }
    if (status == 0) {
        *taken = looked_at - rest.bytes;
    }
    return status;
}

int answer_end(struct answer *answer)
{
    if (answer->reason != NULL) {
        return -EBADMSG;
    }
    if (answer->state == ANSWER_BODY_TO_END) {
        answer->state = ANSWER_WHOLE;
    }
    if (answer->state == ANSWER_WHOLE) {
        return 0;
    }
    return refuse(answer, answer->bytes == 0               ? "no answer"
                          : answer->state <= ANSWER_FIELDS ? "the answer ends within its head"
                                                           : "the answer ends within its body");
}
