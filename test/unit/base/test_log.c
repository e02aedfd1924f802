/* Tests of base/log: the two forms, what outside bytes can do to a line, bounds, writing where
 * there is no room. */
#include "base/log.h"

#include "base/buf.h"
#include "base/log_recent.h"

#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <time.h>

/* Each write(2) to a datagram socket is one message, so a line that took two would be seen. */
struct lines {
    struct log log;
    struct log_sink sink;
    int end;
    char text[2 * LOG_LINE_BYTES_MAX];
};

static void lines_init(struct lines *lines, enum log_format format, enum log_level level)
{
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends), 0);
    *lines = (struct lines){.log = {.sink = &lines->sink, .level = level, .format = format},
                            .end = ends[1]};
    log_sink_init(&lines->sink, ends[0]);
}

static void lines_deinit(struct lines *lines)
{
    close(lines->sink.fd);
    close(lines->end);
    log_sink_deinit(&lines->sink);
}

/* Read one line, check its end, return it without its line feed. */
static const char *lines_next(struct lines *lines)
{
    ssize_t got = recv(lines->end, lines->text, sizeof(lines->text) - 1, MSG_DONTWAIT);
    assert_true(got > 0);
    assert_true(got <= LOG_LINE_BYTES_MAX);
    assert_int_equal(lines->text[got - 1], '\n');
    lines->text[got - 1] = '\0';
    assert_null(strchr(lines->text, '\n'));
    assert_int_equal(strlen(lines->text), got - 1);
    return lines->text;
}

static bool lines_is_empty(struct lines *lines)
{
    char byte;
    return recv(lines->end, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

/* What follows ts= and its value, which is checked for its form. */
static const char *after_timestamp(const char *line, const char *before, const char *after)
{
    struct tm date = {0};
    assert_memory_equal(line, before, strlen(before));
    line += strlen(before);
    const char *rest = strptime(line, "%Y-%m-%dT%H:%M:%S", &date);
    assert_non_null(rest);
    assert_int_equal(rest[0], '.');
    assert_int_equal(strspn(rest + 1, "0123456789"), 3);
    assert_int_equal(rest[4], 'Z');
    double off = difftime(timegm(&date), time(NULL));
    assert_true(off >= -5 && off <= 1);
    assert_memory_equal(rest + 5, after, strlen(after));
    return rest + 5 + strlen(after);
}

static void test_logfmt(void **state)
{
    (void)state;
    struct lines lines;
    lines_init(&lines, LOG_FORMAT_LOGFMT, LOG_LEVEL_DEBUG);
    log_info(&lines.log, "started well", log_u64("port", UINT64_MAX), log_f64("ratio", 0.25),
             log_bool("up", true), log_bool("down", false), log_str("path", "/a/b"));
    assert_string_equal(after_timestamp(lines_next(&lines), "ts=", " "),
                        "level=info msg=\"started well\" port=18446744073709551615 ratio=0.25 "
                        "up=true down=false path=/a/b");
    log_debug(&lines.log, "alone");
    assert_string_equal(after_timestamp(lines_next(&lines), "ts=", " "), "level=debug msg=alone");
    lines_deinit(&lines);
}

static void test_json(void **state)
{
    (void)state;
    struct lines lines;
    lines_init(&lines, LOG_FORMAT_JSON, LOG_LEVEL_DEBUG);
    log_error(&lines.log, "went \"wrong\"", log_u64("port", 9090), log_f64("ratio", 0.25),
              log_bool("up", true), log_str("path", "/a/b"), log_f64("none", NAN),
              log_f64("much", INFINITY), log_f64("little", -INFINITY));
    assert_string_equal(after_timestamp(lines_next(&lines), "{\"ts\":\"", "\","),
                        "\"level\":\"error\",\"msg\":\"went \\\"wrong\\\"\",\"port\":9090,"
                        "\"ratio\":0.25,\"up\":true,\"path\":\"/a/b\",\"none\":\"NaN\","
                        "\"much\":\"+Inf\",\"little\":\"-Inf\"}");
    log_warn(&lines.log, "alone");
    assert_string_equal(after_timestamp(lines_next(&lines), "{\"ts\":\"", "\","),
                        "\"level\":\"warn\",\"msg\":\"alone\"}");
    lines_deinit(&lines);
}

static void test_levels_below_are_dropped(void **state)
{
    (void)state;

    static const enum log_level levels[] = {LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN,
                                            LOG_LEVEL_ERROR};

    for (size_t least = 0; least < COUNT(levels); least++) {
        struct lines lines;
        lines_init(&lines, LOG_FORMAT_LOGFMT, levels[least]);
        for (size_t level = 0; level < COUNT(levels); level++) {
            const struct log_field fields[] = {log_str("msg", "m"), log_end()};
            log_write(&lines.log, levels[level], fields);
            assert_int_equal(lines_is_empty(&lines), level < least);
        }
        lines_deinit(&lines);
    }
}

static void test_logfmt_quotes_only_when_needed(void **state)
{
    (void)state;

    static const struct {
        const char *value;
        const char *printed;
    } cases[] = {
        {"", "\"\""},
        {"plain-1.2_3:/[]{}", "plain-1.2_3:/[]{}"},
        {"a b", "\"a b\""},
        {"a=b", "\"a=b\""},
        {"a\"b", "\"a\\\"b\""},
        {"a\\b", "\"a\\\\b\""},
        {"a\nb", "\"a\\nb\""},
        {"\x1b[1m", "\"\\u001b[1m\""},
        {"\xff", "\"\\ufffd\""},
        {"\x7f", "\"\\u007f\""},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct lines lines;
        lines_init(&lines, LOG_FORMAT_LOGFMT, LOG_LEVEL_INFO);
        log_info(&lines.log, "m", log_str("k", cases[i].value));
        const char *rest = after_timestamp(lines_next(&lines), "ts=", " level=info msg=m k=");
        assert_string_equal(rest, cases[i].printed);
        lines_deinit(&lines);
    }
}

static void test_null_text_and_bytes_without_end(void **state)
{
    (void)state;
    static const char bytes[2] = {'a', '\0'};
    struct lines lines;
    lines_init(&lines, LOG_FORMAT_JSON, LOG_LEVEL_INFO);
    log_info(&lines.log, "m", log_str("none", NULL), log_bytes("two", bytes, 2),
             log_bytes("part", "abc", 1), log_bytes("nothing", NULL, 0));
    assert_string_equal(after_timestamp(lines_next(&lines), "{\"ts\":\"", "\","),
                        "\"level\":\"info\",\"msg\":\"m\",\"none\":\"\",\"two\":\"a\\u0000\","
                        "\"part\":\"a\",\"nothing\":\"\"}");
    lines_deinit(&lines);
}

static void test_long_value_is_cut(void **state)
{
    (void)state;
    static char value[LOG_VALUE_BYTES_MAX + 2];
    memset(value, 'v', LOG_VALUE_BYTES_MAX + 1);

    static const enum log_format formats[] = {LOG_FORMAT_LOGFMT, LOG_FORMAT_JSON};

    for (size_t i = 0; i < COUNT(formats); i++) {
        struct lines lines;
        lines_init(&lines, formats[i], LOG_LEVEL_INFO);
        log_info(&lines.log, "m", log_bytes("k", value, LOG_VALUE_BYTES_MAX), log_str("z", "end"));
        const char *line = lines_next(&lines);
        assert_null(strstr(line, "..."));
        assert_non_null(strstr(line, "vvvv"));
        assert_int_equal(strspn(strstr(line, "vvvv"), "v"), LOG_VALUE_BYTES_MAX);

        log_info(&lines.log, "m", log_str("k", value), log_str("z", "end"));
        line = strstr(lines_next(&lines), "vvvv");
        assert_non_null(line);
        size_t kept = strspn(line, "v");
        assert_int_equal(kept, LOG_VALUE_BYTES_MAX - 3);
        assert_memory_equal(line + kept, "...", 3);
        assert_non_null(strstr(line, "end"));
        lines_deinit(&lines);
    }
}

static void test_long_line_is_cut_at_a_field(void **state)
{
    (void)state;
    static char value[1020];
    memset(value, 'v', sizeof(value));
    struct lines lines;
    lines_init(&lines, LOG_FORMAT_LOGFMT, LOG_LEVEL_INFO);
    log_info(&lines.log, "m", log_bytes("a", value, 1020), log_bytes("b", value, 1020),
             log_bytes("c", value, 1020), log_bytes("d", value, 1020), log_bytes("e", value, 1020),
             log_str("f", "small"));
    const char *line = lines_next(&lines);
    assert_non_null(strstr(line, " c=v"));
    assert_null(strstr(line, " d="));
    assert_null(strstr(line, " f="));
    assert_string_equal(strrchr(line, ' '), " truncated=true");

    lines.log.format = LOG_FORMAT_JSON;
    log_info(&lines.log, "m", log_bytes("a", value, 1020), log_bytes("b", value, 1020),
             log_bytes("c", value, 1020), log_bytes("d", value, 1020));
    line = lines_next(&lines);
    assert_null(strstr(line, "\"d\""));
    assert_string_equal(line + strlen(line) - strlen("v\",\"truncated\":true}"),
                        "v\",\"truncated\":true}");
    lines_deinit(&lines);
}

/* At each length around the limit a line is whole or says that it is not. */
static void test_every_length_around_the_limit(void **state)
{
    (void)state;
    static char value[LOG_VALUE_BYTES_MAX];
    memset(value, 'v', sizeof(value));
    bool was_cut = false;
    struct lines lines;
    lines_init(&lines, LOG_FORMAT_JSON, LOG_LEVEL_INFO);
    for (size_t bytes = 850; bytes < 1020; bytes++) {
        log_info(&lines.log, "m", log_bytes("a", value, 1000), log_bytes("b", value, 1000),
                 log_bytes("c", value, 1000), log_bytes("d", value, bytes));
        const char *line = lines_next(&lines);
        bool cut = strstr(line, "\"truncated\":true}") != NULL;
        assert_int_equal(cut, strstr(line, "\"d\"") == NULL);
        assert_int_equal(line[strlen(line) - 1], '}');
        assert_true(cut || !was_cut);
        was_cut = cut;
    }
    assert_true(was_cut);
    lines_deinit(&lines);
}

/* Check a JSON string and return what follows it. */
static const char *skip_string(const char *text)
{
    assert_int_equal(*text, '"');
    for (text++; *text != '"'; text++) {
        assert_true((unsigned char)*text >= 0x20);
        text += *text == '\\';
    }
    return text + 1;
}

static void test_any_bytes_make_one_json_object(void **state)
{
    (void)state;
    uint64_t seed = 7;
    struct lines lines;
    lines_init(&lines, LOG_FORMAT_JSON, LOG_LEVEL_INFO);
    for (size_t round = 0; round < 2000; round++) {
        unsigned char bytes[1500];
        size_t count = unit_random(&seed) % sizeof(bytes);
        for (size_t i = 0; i < count; i++) {
            bytes[i] = (unsigned char)unit_random(&seed);
        }
        log_info(&lines.log, "m", log_bytes("a", (char *)bytes, count),
                 log_bytes("b", (char *)bytes, count / 3));
        const char *rest = after_timestamp(lines_next(&lines), "{\"ts\":\"",
                                           "\",\"level\":\"info\",\"msg\":\"m\"");
        for (size_t field = 0; field < 2; field++) {
            assert_int_equal(*rest, ',');
            rest = skip_string(rest + 1);
            assert_int_equal(*rest, ':');
            rest = skip_string(rest + 1);
        }
        assert_string_equal(rest, "}");
    }
    lines_deinit(&lines);
}

static void test_errno_survives_and_a_bad_descriptor_is_no_harm(void **state)
{
    (void)state;
    struct log_sink sink;
    log_sink_init(&sink, -1);
    const struct log log = {.sink = &sink, .level = LOG_LEVEL_INFO, .format = LOG_FORMAT_LOGFMT};
    errno = ENOENT;
    log_info(&log, "nowhere to go");
    assert_int_equal(errno, ENOENT);
    assert_int_equal(log_lines_lost(&log), 1);
    log_sink_deinit(&sink);

    const struct log nobody = {.sink = NULL};
    log_info(&nobody, "not even lost");
    assert_int_equal(log_lines_lost(&nobody), 0);
}

/* -- Where there is no room -------------------------------------------------------------------- */

#define WRITERS 4
#define ROUNDS  500

/* A log that does not wait ends a test; one that does is ended by a signal. */
#define PATIENCE_S 20

/* A pipe of one page, which has room only while nothing is in it. */
struct small_pipe {
    struct log_sink sink;
    int end;
    char text[2 * LOG_LINE_BYTES_MAX];
};

static void small_pipe_init(struct small_pipe *small)
{
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(fcntl(ends[1], F_SETPIPE_SZ, 4096), 4096);
    assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
    *small = (struct small_pipe){.end = ends[0]};
    log_sink_init(&small->sink, ends[1]);
    (void)alarm(PATIENCE_S);
}

static void small_pipe_deinit(struct small_pipe *small)
{
    (void)alarm(0);
    close(small->sink.fd);
    close(small->end);
    log_sink_deinit(&small->sink);
}

static void small_pipe_fill(struct small_pipe *small)
{
    char page[4096] = {0};
    assert_int_equal(write(small->sink.fd, page, sizeof(page)), sizeof(page));
}

/* All that is in it. */
static const char *small_pipe_drain(struct small_pipe *small)
{
    size_t size = 0;
    ssize_t got;
    while ((got = read(small->end, small->text + size, sizeof(small->text) - 1 - size)) > 0) {
        size += (size_t)got;
    }
    small->text[size] = '\0';
    return small->text;
}

static void test_a_full_pipe_loses_lines_and_the_next_one_tells(void **state)
{
    (void)state;
    struct small_pipe small;
    struct log_recent recent;
    struct buf kept;
    small_pipe_init(&small);
    log_recent_init(&recent);
    buf_init(&kept, 1 << 16);
    const struct log logfmt = {.sink = &small.sink, .format = LOG_FORMAT_LOGFMT, .recent = &recent};
    const struct log json = {.sink = &small.sink, .format = LOG_FORMAT_JSON};
    const struct log errors = {.sink = &small.sink, .level = LOG_LEVEL_ERROR};

    small_pipe_fill(&small);
    errno = ENOENT;
    log_warn(&logfmt, "unheard");
    assert_int_equal(errno, ENOENT);
    log_info(&json, "unheard");
    log_info(&errors, "not for this log");
    assert_int_equal(log_lines_lost(&logfmt), 2);
    assert_int_equal(log_recent_print(&recent, &kept), 0);
    assert_non_null(memmem(kept.data, kept.size, "\"msg\":\"unheard\"", 15));

    (void)small_pipe_drain(&small);
    log_info(&logfmt, "heard");
    assert_string_equal(after_timestamp(small_pipe_drain(&small), "ts=", " "),
                        "level=info lines_lost=2 msg=heard\n");
    log_info(&logfmt, "again");
    assert_string_equal(after_timestamp(small_pipe_drain(&small), "ts=", " "),
                        "level=info msg=again\n");

    small_pipe_fill(&small);
    log_info(&json, "unheard");
    (void)small_pipe_drain(&small);
    log_info(&json, "heard");
    assert_string_equal(after_timestamp(small_pipe_drain(&small), "{\"ts\":\"", "\","),
                        "\"level\":\"info\",\"lines_lost\":1,\"msg\":\"heard\"}\n");
    assert_int_equal(log_lines_lost(&json), 3);
    buf_deinit(&kept);
    log_recent_deinit(&recent);
    small_pipe_deinit(&small);
}

/* As journald's is. */
static void test_a_full_socket_loses_lines(void **state)
{
    (void)state;

    static const int types[] = {SOCK_STREAM, SOCK_DGRAM};

    for (size_t i = 0; i < COUNT(types); i++) {
        int ends[2];
        char sink_text[4096];
        struct log_sink sink;
        assert_int_equal(socketpair(AF_UNIX, types[i], 0, ends), 0);
        log_sink_init(&sink, ends[0]);
        const struct log log = {.sink = &sink};
        (void)alarm(PATIENCE_S);
        while (log_lines_lost(&log) < 10) {
            log_info(&log, "into a socket");
        }
        while (recv(ends[1], sink_text, sizeof(sink_text), MSG_DONTWAIT) > 0) {
        }
        log_info(&log, "heard");
        (void)alarm(0);
        ssize_t got = recv(ends[1], sink_text, sizeof(sink_text) - 1, MSG_DONTWAIT);
        assert_true(got > 0);
        sink_text[got] = '\0';
        assert_non_null(strstr(sink_text, " lines_lost=10 msg=heard\n"));
        close(ends[0]);
        close(ends[1]);
        log_sink_deinit(&sink);
    }
}

static void test_without_a_reader_lines_are_lost(void **state)
{
    (void)state;
    struct small_pipe small;
    small_pipe_init(&small);
    const struct log log = {.sink = &small.sink};
    void (*old)(int) = signal(SIGPIPE, SIG_IGN);
    close(small.end);
    log_info(&log, "nobody");
    assert_int_equal(log_lines_lost(&log), 1);
    (void)signal(SIGPIPE, old);
    small.end = -1;
    small_pipe_deinit(&small);
}

struct writers {
    struct log log;
    pthread_barrier_t start;
};

static void *write_a_line(void *argument)
{
    struct writers *writers = argument;
    char value[1000];
    memset(value, 'v', sizeof(value));
    (void)pthread_barrier_wait(&writers->start);
    log_info(&writers->log, "m", log_bytes("a", value, 1000), log_bytes("b", value, 1000),
             log_bytes("c", value, 1000), log_bytes("d", value, 900));
    return NULL;
}

/* Of threads that see the last room at once, one takes it and none waits. */
static void test_threads_do_not_take_the_same_room(void **state)
{
    (void)state;
    struct small_pipe small;
    struct writers writers;
    small_pipe_init(&small);
    writers.log = (struct log){.sink = &small.sink};
    assert_int_equal(pthread_barrier_init(&writers.start, NULL, WRITERS), 0);
    for (size_t round = 1; round <= ROUNDS; round++) {
        pthread_t threads[WRITERS];
        for (size_t i = 0; i < WRITERS; i++) {
            assert_int_equal(pthread_create(&threads[i], NULL, write_a_line, &writers), 0);
        }
        for (size_t i = 0; i < WRITERS; i++) {
            assert_int_equal(pthread_join(threads[i], NULL), 0);
        }
        const char *text = small_pipe_drain(&small);
        assert_true(strlen(text) > 3900 && strlen(text) <= LOG_LINE_BYTES_MAX);
        assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
        assert_int_equal(log_lines_lost(&writers.log), round * (WRITERS - 1));
    }
    (void)pthread_barrier_destroy(&writers.start);
    small_pipe_deinit(&small);
}

/* -- The gate --------------------------------------------------------------------------------- */

static void test_gate_lets_one_line_through_an_interval(void **state)
{
    (void)state;
    struct log_gate gate = {0};
    uint64_t held_back = 99;
    assert_true(log_gate_pass(&gate, 1, 1000, &held_back));
    assert_int_equal(held_back, 0);
    held_back = 99;
    assert_false(log_gate_pass(&gate, 1, 1000, &held_back));
    assert_false(log_gate_pass(&gate, 1000, 1000, &held_back));
    assert_int_equal(held_back, 99);
    assert_true(log_gate_pass(&gate, 1001, 1000, &held_back));
    assert_int_equal(held_back, 2);
    assert_false(log_gate_pass(&gate, 2000, 1000, &held_back));
    assert_true(log_gate_pass(&gate, 9000, 1000, &held_back));
    assert_int_equal(held_back, 1);
    assert_true(log_gate_pass(&gate, 10000, 1000, &held_back));
    assert_int_equal(held_back, 0);
}

static void test_gate_at_the_end_of_time(void **state)
{
    (void)state;
    struct log_gate gate = {0};
    uint64_t held_back = 0;
    assert_true(log_gate_pass(&gate, 5, UINT64_MAX, &held_back));
    assert_false(log_gate_pass(&gate, 6, UINT64_MAX, &held_back));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logfmt),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_levels_below_are_dropped),
        cmocka_unit_test(test_logfmt_quotes_only_when_needed),
        cmocka_unit_test(test_null_text_and_bytes_without_end),
        cmocka_unit_test(test_long_value_is_cut),
        cmocka_unit_test(test_long_line_is_cut_at_a_field),
        cmocka_unit_test(test_every_length_around_the_limit),
        cmocka_unit_test(test_any_bytes_make_one_json_object),
        cmocka_unit_test(test_errno_survives_and_a_bad_descriptor_is_no_harm),
        cmocka_unit_test(test_a_full_pipe_loses_lines_and_the_next_one_tells),
        cmocka_unit_test(test_a_full_socket_loses_lines),
        cmocka_unit_test(test_without_a_reader_lines_are_lost),
        cmocka_unit_test(test_threads_do_not_take_the_same_room),
        cmocka_unit_test(test_gate_lets_one_line_through_an_interval),
        cmocka_unit_test(test_gate_at_the_end_of_time),
    };
    return cmocka_run_group_tests_name("base/log", tests, NULL, NULL);
}
