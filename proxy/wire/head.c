/* Request-head strictness. Pure; owns nothing. */
#include "wire/head.h"

#include "wire/field.h"

#include <errno.h>
#include <string.h>

static int refuse(struct head *head, const char *reason)
{
    if (head->reason == NULL) {
        head->reason = reason;
    }
    return -EBADMSG;
}

void head_init(struct head *head, const char *method, const char *version)
{
    *head = (struct head){.body = HEAD_BODY_NONE};
    head->http_1_0 = strcmp(version, "HTTP/1.0") == 0;
    if (!head->http_1_0 && strcmp(version, "HTTP/1.1") != 0) {
        head->reason = "HTTP version is neither 1.1 nor 1.0";
    } else if (!field_name_valid((struct text){.start = method, .bytes = strlen(method)})) {
        head->reason = "method is not a token";
    }
}

static int add_host(struct head *head, struct text value)
{
    if (head->has_host) {
        return refuse(head, "repeated Host");
    }
    if (value.bytes == 0) {
        return refuse(head, "empty Host");
    }
    head->has_host = true;
    return 0;
}

/* Only digits, only once: a list of equal values is legal to merge, but others on the way may take
 * its first or its last. */
static int add_content_length(struct head *head, struct text value)
{
    if (head->body == HEAD_BODY_LENGTH) {
        return refuse(head, "repeated Content-Length");
    }
    if (head->has_transfer_encoding) {
        return refuse(head, "Content-Length with Transfer-Encoding");
    }
    if (!field_number(value, &head->content_length)) {
        return refuse(head, "Content-Length is not a number");
    }
    if (head->content_length == UINT64_MAX) {
        return refuse(head, "Content-Length is beyond any body"); /* it stands for an unknown one */
    }
    head->body = HEAD_BODY_LENGTH;
    return 0;
}

static int add_transfer_encoding(struct head *head, struct text value)
{
    if (head->has_transfer_encoding) {
        return refuse(head, "repeated Transfer-Encoding");
    }
    if (head->body == HEAD_BODY_LENGTH) {
        return refuse(head, "Content-Length with Transfer-Encoding");
    }
    if (head->http_1_0) {
        return refuse(head, "Transfer-Encoding in HTTP/1.0");
    }
    if (!text_is(value, "chunked")) {
        return refuse(head, "transfer coding is not chunked");
    }
    head->has_transfer_encoding = true;
    head->body = HEAD_BODY_CHUNKED;
    return 0;
}

static int add_connection(struct head *head, struct text value)
{
    struct text option;
    while (text_next(&value, &option)) {
        if (option.bytes > 0 && !field_name_valid(option)) {
            return refuse(head, "Connection lists what is not a token");
        }
        head->wants_close = head->wants_close || text_is(option, "close");
        head->wants_keep_alive = head->wants_keep_alive || text_is(option, "keep-alive");
    }
    return 0;
}

static int add_expect(struct head *head, struct text value)
{
    if (!text_is(value, "100-continue")) {
        return refuse(head, "expectation is not 100-continue");
    }
    head->expects_continue = true;
    return 0;
}

int head_add(struct head *head, const char *name, size_t name_bytes, const char *value,
             size_t value_bytes)
{
    struct text field = {.start = name, .bytes = name_bytes};
    struct text content = text_trim((struct text){.start = value, .bytes = value_bytes});
    if (head->reason != NULL) {
        return -EBADMSG;
    }
    if (++head->fields > HEAD_FIELDS_MAX) {
        return refuse(head, "too many headers");
    }
    if (!field_name_valid(field)) {
        return refuse(head, "header name is not a token");
    }
    if (!field_value_valid(content)) {
        return refuse(head, "control character in a header");
    }
    if (text_is(field, "Host")) {
        return add_host(head, content);
    }
    if (text_is(field, "Content-Length")) {
        return add_content_length(head, content);
    }
    if (text_is(field, "Transfer-Encoding")) {
        return add_transfer_encoding(head, content);
    }
    if (text_is(field, "Connection")) {
        return add_connection(head, content);
    }
    if (text_is(field, "Expect")) {
        return add_expect(head, content);
    }
    /* Upgrade is an offer that a server may pass over (RFC 9110, section 7.8), and so do we: Java's
     * client makes it with every plain request. */
    return 0;
}

int head_finish(struct head *head)
{
    if (head->reason != NULL) {
        return -EBADMSG;
    }
    if (!head->has_host && !head->http_1_0) {
        return refuse(head, "no Host");
    }
    head->keep_alive = !head->wants_close && (!head->http_1_0 || head->wants_keep_alive);
    head->expects_continue = head->expects_continue && !head->http_1_0 &&
                             (head->body == HEAD_BODY_CHUNKED || head->content_length > 0);
    return 0;
}
