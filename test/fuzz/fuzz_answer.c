/* A gateway's answer: the first byte says into what parts it is cut, the rest is what it sent. The
 * parts change nothing; and what is taken for whole has one framing, by a look of its own. */
#include "wire/answer.h"
#include "wire/verdict.h"

#include <stdlib.h>
#include <string.h>

#define CHECK(condition)    \
    do {                    \
        if (!(condition)) { \
            abort();        \
        }                   \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

struct fed {
    struct answer answer;
    struct outcome outcome;
    size_t taken;
};

/* Each part is in memory of its own size, so that nobody looks beyond it unseen. */
static void feed(struct fed *fed, const char *text, size_t bytes, size_t step)
{
    size_t at = 0;
    int status = 0;
    fed->taken = 0;
    answer_init(&fed->answer, &fed->outcome);
    while (at < bytes && status == 0 && !answer_whole(&fed->answer)) {
        size_t part = step < bytes - at ? step : bytes - at;
        char *copy = malloc(part);
        size_t taken = 0;
        CHECK(copy != NULL);
        memcpy(copy, text + at, part);
        status = answer_add(&fed->answer, copy, part, &taken);
        free(copy);
        CHECK((status == 0) == (fed->answer.reason == NULL));
        CHECK(taken <= part && fed->answer.bytes <= ANSWER_BYTES_MAX);
        CHECK(status != 0 || taken == part || answer_whole(&fed->answer));
        fed->taken += taken;
        at += part;
    }
    CHECK(fed->outcome.body_bytes <= OUTCOME_BODY_MAX);
}

/* Lines of the last head that begin with a word, in lower case. */
static unsigned count_lines(const char *head, size_t bytes, const char *word)
{
    unsigned count = 0;
    for (size_t i = 1; i + strlen(word) <= bytes; i++) {
        count += head[i - 1] == '\n' && strncasecmp(head + i, word, strlen(word)) == 0;
    }
    return count;
}

static void check_whole(const struct fed *fed, const char *text)
{
    CHECK(fed->outcome.status >= 200 && fed->outcome.status <= 599);
    CHECK(fed->taken >= 12 && memcmp(text, "HTTP/1.", 7) == 0);
    if (fed->answer.interims == 0) {
        const char *end = memmem(text, fed->taken, "\n\r\n", 3);
        const char *bare = memmem(text, fed->taken, "\n\n", 2);
        end = end == NULL || (bare != NULL && bare < end) ? bare : end;
        CHECK(end != NULL);
        size_t bytes = (size_t)(end - text) + 1;
        CHECK(memchr(text, '\0', bytes) == NULL);
        CHECK(strtoul(text + 9, NULL, 10) == fed->outcome.status);
        unsigned lengths = count_lines(text, bytes, "content-length:");
        unsigned codings = count_lines(text, bytes, "transfer-encoding:");
        CHECK(codings == 0 || (codings == 1 && lengths == 0));
        CHECK(lengths <= 1 || !fed->answer.keep_alive);
        CHECK(!fed->answer.keep_alive || lengths + codings == 1 || fed->outcome.status == 204 ||
              fed->outcome.status == 304);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct fed whole;
    static struct fed parts;
    if (bytes < 1) {
        return 0;
    }
    const char *text = (const char *)data + 1;
    feed(&whole, text, bytes - 1, bytes);
    feed(&parts, text, bytes - 1, 1u + data[0]);
    CHECK((whole.answer.reason == NULL) == (parts.answer.reason == NULL));
    if (whole.answer.reason == NULL) {
        CHECK(whole.answer.state == parts.answer.state && whole.taken == parts.taken);
        CHECK(whole.outcome.status == parts.outcome.status);
        CHECK(whole.outcome.retry_after_s == parts.outcome.retry_after_s);
        CHECK(whole.answer.keep_alive == parts.answer.keep_alive);
        CHECK(whole.outcome.body_bytes == parts.outcome.body_bytes);
        CHECK(memcmp(whole.outcome.body, parts.outcome.body, whole.outcome.body_bytes) == 0);
        CHECK(answer_whole(&whole.answer) || whole.taken == bytes - 1);
    }
    if (answer_whole(&whole.answer)) {
        check_whole(&whole, text);
    } else {
        CHECK(answer_end(&whole.answer) != 0 || whole.answer.state == ANSWER_WHOLE);
    }
    return 0;
}
