/* Builds a line on the stack and writes it. Owns nothing. */
#include "base/log.h"

#include "base/decimal.h"
#include "base/escape.h"
#include "base/log_recent.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Room kept for what ends a line: the word that it was cut, a brace and the line feed. */
#define LOG_TAIL_BYTES 32

/* So lines of several writers do not mix in a pipe, and any room that it shows is enough. */
static_assert(LOG_LINE_BYTES_MAX <= PIPE_BUF, "a pipe takes a line whole or not at all");

/* A line under construction. */
struct log_line {
    size_t size;
    size_t limit; /* [bytes] size never goes beyond */
    char text[LOG_LINE_BYTES_MAX];
};

struct log_field log_str(const char *key, const char *text)
{
    return text == NULL ? log_bytes(key, "", 0) : log_bytes(key, text, strlen(text));
}

/* Add all of the bytes or none; false when there is no room. */
static bool log_line_add(struct log_line *line, const char *bytes, size_t count)
{
    if (count > line->limit - line->size) {
        return false;
    }
    memcpy(line->text + line->size, bytes, count);
    line->size += count;
    return true;
}

static bool log_line_add_text(struct log_line *line, const char *text)
{
    return log_line_add(line, text, strlen(text));
}

/* Whether logfmt readers take the text for one value without quotes around it. */
static bool log_is_bare(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        char c = text[i];
        if (c <= ' ' || c > '~' || c == '=' || c == '"' || c == '\\') {
            return false;
        }
    }
    return bytes > 0;
}

static bool log_line_add_value(struct log_line *line, const char *text, size_t bytes, bool quoted)
{
    char escaped[LOG_VALUE_BYTES_MAX];
    size_t escaped_bytes = escape_json(escaped, sizeof(escaped), text, bytes);
    const char *quote = quoted ? "\"" : "";
    return log_line_add_text(line, quote) && log_line_add(line, escaped, escaped_bytes) &&
           log_line_add_text(line, quote);
}

static bool log_line_add_field_value(struct log_line *line, enum log_format format,
                                     const struct log_field *field)
{
    char number[DECIMAL_BYTES_MAX];
    size_t bytes = 0;
    switch (field->type) {
    case LOG_FIELD_BYTES: {
        bool quoted = format == LOG_FORMAT_JSON || !log_is_bare(field->value.text, field->bytes);
        return log_line_add_value(line, field->value.text, field->bytes, quoted);
    }
    case LOG_FIELD_U64:
        (void)snprintf(number, sizeof(number), "%" PRIu64, field->value.u64);
        return log_line_add_text(line, number);
    case LOG_FIELD_F64:
        bytes = decimal_print_f64(number, field->value.f64);
        return log_line_add_value(line, number, bytes,
                                  format == LOG_FORMAT_JSON && !isfinite(field->value.f64));
    case LOG_FIELD_BOOL:
        return log_line_add_text(line, field->value.boolean ? "true" : "false");
    case LOG_FIELD_END:
    default:
        assert(false);
        return false;
    }
}

/* Add a whole field or nothing of it. */
static bool log_line_add_field(struct log_line *line, enum log_format format,
                               const struct log_field *field)
{
    bool json = format == LOG_FORMAT_JSON;
    size_t size = line->size;
    bool first = size == 0;
    bool added = log_line_add_text(line, json ? (first ? "{\"" : ",\"") : (first ? "" : " ")) &&
                 log_line_add_text(line, field->key) &&
                 log_line_add_text(line, json ? "\":" : "=") &&
                 log_line_add_field_value(line, format, field);
    if (!added) {
        line->size = size;
    }
    return added;
}

static struct log_field log_timestamp(char text[40])
{
    struct timespec now = {0};
    struct tm date = {0};
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &date);
    size_t bytes = strftime(text, 32, "%Y-%m-%dT%H:%M:%S", &date);
    int rest = snprintf(text + bytes, 40 - bytes, ".%03ldZ", now.tv_nsec / 1000000);
    assert(rest == 5);
    return log_bytes("ts", text, bytes + (size_t)rest);
}

static const char *log_level_name(enum log_level level)
{
    switch (level) {
    case LOG_LEVEL_DEBUG:
        return "debug";
    case LOG_LEVEL_INFO:
        return "info";
    case LOG_LEVEL_WARN:
        return "warn";
    case LOG_LEVEL_ERROR:
    default:
        return "error";
    }
}

/* Add fields up to one that finds no room; false when there is one. */
static bool log_line_add_fields(struct log_line *line, enum log_format format,
                                const struct log_field *fields)
{
    bool whole = true;
    while (whole && fields->type != LOG_FIELD_END) {
        whole = log_line_add_field(line, format, fields);
        fields++;
    }
    return whole;
}

/* Build a whole line, without its end of line; fields that find no room are left out. */
static void log_line_build(struct log_line *line, size_t bytes_max, enum log_format format,
                           enum log_level level, uint64_t lines_lost,
                           const struct log_field *fields)
{
    char date[40];
    struct log_field head[] = {
        log_timestamp(date),
        log_str("level", log_level_name(level)),
        lines_lost > 0 ? log_u64("lines_lost", lines_lost) : log_end(),
        log_end(),
    };
    line->size = 0;
    line->limit = bytes_max - LOG_TAIL_BYTES;
    bool whole =
        log_line_add_fields(line, format, head) && log_line_add_fields(line, format, fields);

    line->limit = bytes_max;
    if (!whole) {
        struct log_field cut = log_bool("truncated", true);
        whole = log_line_add_field(line, format, &cut);
    }
    whole = whole && log_line_add_text(line, format == LOG_FORMAT_JSON ? "}" : "");
    assert(whole);
}

void log_sink_init(struct log_sink *sink, int fd)
{
    *sink = (struct log_sink){.fd = fd};
    (void)pthread_mutex_init(&sink->lock, NULL);
}

void log_sink_deinit(struct log_sink *sink)
{
    (void)pthread_mutex_destroy(&sink->lock);
}

/* Whether a line can be written without waiting. */
static bool log_sink_has_room(const struct log_sink *sink)
{
    struct pollfd room = {.fd = sink->fd, .events = POLLOUT};
    return poll(&room, 1, 0) == 1 && (room.revents & POLLOUT) != 0;
}

/* Write the line that it builds, or count it as lost. */
static void log_put(const struct log *log, enum log_level level, const struct log_field *fields)
{
    struct log_sink *sink = log->sink;
    bool written = false;
    (void)pthread_mutex_lock(&sink->lock);
    uint64_t lost = atomic_load(&sink->lost);
    if (log_sink_has_room(sink)) {
        struct log_line line;
        log_line_build(&line, LOG_LINE_BYTES_MAX, log->format, level, lost - sink->told, fields);
        bool whole = log_line_add_text(&line, "\n");
        assert(whole);
        written = write(sink->fd, line.text, line.size) == (ssize_t)line.size;
    }
    if (written) {
        sink->told = lost;
    } else {
        atomic_store(&sink->lost, lost + 1);
    }
    (void)pthread_mutex_unlock(&sink->lock);
}

void log_write(const struct log *log, enum log_level level, const struct log_field *fields)
{
    int saved_errno = errno;
    if (log->recent != NULL && level >= LOG_LEVEL_WARN) {
        struct log_line line;
        log_line_build(&line, LOG_RECENT_BYTES, LOG_FORMAT_JSON, level, 0, fields);
        log_recent_add(log->recent, line.text, line.size);
    }
    if (log->sink != NULL && level >= log->level) {
        log_put(log, level, fields);
    }
    errno = saved_errno;
}

uint64_t log_lines_lost(const struct log *log)
{
    return log->sink != NULL ? atomic_load(&log->sink->lost) : 0;
}

bool log_gate_pass(struct log_gate *gate, uint64_t now_us, uint64_t interval_us,
                   uint64_t *held_back)
{
    if (now_us < gate->open_at_us) {
        gate->held_back++;
        return false;
    }
    gate->open_at_us = interval_us < UINT64_MAX - now_us ? now_us + interval_us : UINT64_MAX;
    *held_back = gate->held_back;
    gate->held_back = 0;
    return true;
}
