/* Log lines in logfmt or JSON, one write(2) a line, to a descriptor (stderr in the program).
 *
 * Who logs does not wait for who reads the log: a line that a full pipe or socket has no room for
 * is lost and counted, and the next one that is written says how many were (lines_lost). What can
 * still make it wait is a file on a slow disk, a terminal that nobody reads, and another process
 * that takes the last room of a shared pipe in between.
 *
 * A line is a message and typed fields: log_info(log, "batch refused", log_u64("status", 400)).
 * Values are escaped and bounded here, so that bytes from outside can be passed as they are. */
#ifndef AGENT_PROXY_BASE_LOG_H
#define AGENT_PROXY_BASE_LOG_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct log_recent;

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

enum log_format { LOG_FORMAT_LOGFMT, LOG_FORMAT_JSON };

/* Where lines are written, and how many could not be. Owner: main; outlives every thread that
 * logs. */
struct log_sink {
    int fd;
    pthread_mutex_t lock;  /* from looking for room until it is taken */
    uint64_t told;         /* of those lost, the ones that a line has told of; under the lock */
    _Atomic uint64_t lost; /* written under the lock */
};

/* Lines go to fd, which is borrowed. It is not made non-blocking: that would hold for all who
 * share it. */
void log_sink_init(struct log_sink *sink, int fd);
void log_sink_deinit(struct log_sink *sink);

/* Where and how lines are written. Owner: main, on its stack; outlives every thread; constant. */
struct log {
    struct log_sink *sink; /* NULL: nobody */
    enum log_level level;  /* lines below it are dropped */
    enum log_format format;
    struct log_recent *recent; /* keeps warnings and errors, whatever the level; NULL: nobody */
};

enum log_field_type {
    LOG_FIELD_END,
    LOG_FIELD_BYTES,
    LOG_FIELD_U64,
    LOG_FIELD_F64,
    LOG_FIELD_BOOL
};

struct log_field {
    const char *key;
    enum log_field_type type;
    size_t bytes;

    union {
        const char *text;
        uint64_t u64;
        double f64;
        bool boolean;
    } value;
};

#define LOG_LINE_BYTES_MAX  4096 /* a longer line is cut at a field, and says so */
#define LOG_VALUE_BYTES_MAX 1024 /* a value longer than this once escaped is cut, ends in "..." */

static inline struct log_field log_bytes(const char *key, const char *text, size_t bytes)
{
    return (struct log_field){
        .key = key, .type = LOG_FIELD_BYTES, .bytes = bytes, .value = {.text = text}};
}

struct log_field log_str(const char *key, const char *text); /* NULL is logged as "" */

static inline struct log_field log_u64(const char *key, uint64_t number)
{
    return (struct log_field){.key = key, .type = LOG_FIELD_U64, .value = {.u64 = number}};
}

static inline struct log_field log_f64(const char *key, double number)
{
    return (struct log_field){.key = key, .type = LOG_FIELD_F64, .value = {.f64 = number}};
}

static inline struct log_field log_bool(const char *key, bool boolean)
{
    return (struct log_field){.key = key, .type = LOG_FIELD_BOOL, .value = {.boolean = boolean}};
}

static inline struct log_field log_end(void)
{
    return (struct log_field){.type = LOG_FIELD_END};
}

/* Lines that could not be written, since the start. */
uint64_t log_lines_lost(const struct log *log);

/* Write one line; fields[0] is the message ("msg"), the last field is log_end(). Never fails:
 * a line that cannot be written at once is lost. Use the macros below. */
void log_write(const struct log *log, enum log_level level, const struct log_field *fields);

#define LOG_FIELDS_(message, ...)            \
    (const struct log_field[])               \
    {                                        \
        log_str("msg", message), __VA_ARGS__ \
    }
#define log_debug(log, ...) log_write((log), LOG_LEVEL_DEBUG, LOG_FIELDS_(__VA_ARGS__, log_end()))
#define log_info(log, ...)  log_write((log), LOG_LEVEL_INFO, LOG_FIELDS_(__VA_ARGS__, log_end()))
#define log_warn(log, ...)  log_write((log), LOG_LEVEL_WARN, LOG_FIELDS_(__VA_ARGS__, log_end()))
#define log_error(log, ...) log_write((log), LOG_LEVEL_ERROR, LOG_FIELDS_(__VA_ARGS__, log_end()))

/* Lets a repeated line through once an interval, and counts what it held back.
 * Owner: embedded in the struct whose events it rates; zero is its start. */
struct log_gate {
    uint64_t open_at_us;
    uint64_t held_back;
};

/* True when a line may be written now; *held_back is then the number of lines dropped since the
 * last one. Units: [us], monotonic. */
bool log_gate_pass(struct log_gate *gate, uint64_t now_us, uint64_t interval_us,
                   uint64_t *held_back);

#endif
