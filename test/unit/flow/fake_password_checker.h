/* A checker that answers when a test says so. To be included by one file of a program: it stands in
 * for the whole of io/password_checker. */
#ifndef AGENT_PROXY_TEST_FAKE_PASSWORD_CHECKER_H
#define AGENT_PROXY_TEST_FAKE_PASSWORD_CHECKER_H

#include "io/password_checker.h"

#include <errno.h>
#include <string.h>

/* A check that was asked for. */
struct fake_check {
    char password[64];
    const char *hash;
    void *arg;
};

/* Owner: the test. */
struct password_checker {
    struct fake_check checks[PASSWORD_CHECKS_MAX]; /* in the order in which they were asked for */
    size_t count;
    size_t done; /* of them; the rest is under way */
    bool answers[PASSWORD_CHECKS_MAX];
    size_t taken;
    bool has_no_thread; /* and can make none */
};

static inline void fake_answer(struct password_checker *checker, bool matches)
{
    assert_true(checker->done < checker->count);
    checker->answers[checker->done++] = matches;
}

int password_checker_add(struct password_checker *checker, const char *password, const char *hash,
                         void *arg)
{
    if (checker->has_no_thread) {
        return -ENOMEM;
    }
    if (checker->count == PASSWORD_CHECKS_MAX) {
        return -EAGAIN;
    }
    struct fake_check *check = &checker->checks[checker->count++];
    assert_true(strlen(password) < sizeof(check->password));
    memcpy(check->password, password, strlen(password) + 1);
    check->hash = hash;
    check->arg = arg;
    return 0;
}

bool password_checker_take(struct password_checker *checker, void **arg, bool *matches)
{
    if (checker->taken == checker->done) {
        return false;
    }
    *arg = checker->checks[checker->taken].arg;
    *matches = checker->answers[checker->taken++];
    return true;
}

/* The first and the last bytes, which is enough to tell a test's secrets apart. */
void password_checker_digest(const struct password_checker *checker, const void *secret,
                             size_t bytes, uint8_t digest[PASSWORD_DIGEST_BYTES])
{
    (void)checker;
    const uint8_t *text = secret;
    size_t most = bytes < PASSWORD_DIGEST_BYTES ? bytes : PASSWORD_DIGEST_BYTES;
    memset(digest, 0, PASSWORD_DIGEST_BYTES);
    memcpy(digest, text + bytes - most, most);
    digest[0] = (uint8_t)(digest[0] ^ bytes);
}

#endif
