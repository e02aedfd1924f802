/* Signals: those that came before anybody asked, one after the other, and the wake-up. */
#include "io/signals.h"

#include "../base/unit.h"
#include "io/loop.h"

#include <signal.h>
#include <unistd.h>

#define LONG_US (30U * 1000U * 1000U)

/* Of the whole process, as from outside. */
static void send_signal(int number)
{
    assert_int_equal(kill(getpid(), number), 0);
}

static struct signals *make(struct loop **loop)
{
    *loop = loop_new();
    assert_non_null(*loop);
    struct signals *signals = signals_new(*loop);
    assert_non_null(signals);
    return signals;
}

static void test_none(void **state)
{
    (void)state;
    struct loop *loop;
    struct signals *signals = make(&loop);
    (void)loop_wait(loop, 0);
    assert_false(signals_wait(signals));
    assert_int_equal(signals_take(signals), 0);
    signals_free(signals);
    loop_free(loop);
}

static void test_those_that_came_before(void **state)
{
    (void)state;
    struct loop *loop;
    send_signal(SIGTERM);
    struct signals *signals = make(&loop);
    (void)loop_wait(loop, LONG_US);
    assert_true(signals_wait(signals));
    assert_int_equal(signals_take(signals), SIGTERM);
    assert_int_equal(signals_take(signals), 0);
    assert_false(signals_wait(signals));
    signals_free(signals);
    loop_free(loop);
}

static void test_each_is_taken_once(void **state)
{
    (void)state;
    struct loop *loop;
    struct signals *signals = make(&loop);
    send_signal(SIGHUP);
    send_signal(SIGINT);
    send_signal(SIGPIPE); /* ignored */
    unsigned seen[65] = {0};
    (void)loop_wait(loop, LONG_US);
    int number;
    while ((number = signals_take(signals)) != 0) {
        seen[number]++;
    }
    assert_int_equal(seen[SIGHUP], 1);
    assert_int_equal(seen[SIGINT], 1);
    assert_int_equal(seen[SIGPIPE], 0);
    signals_free(signals);
    loop_free(loop);
}

static void test_let_go(void **state)
{
    (void)state;
    sigset_t blocked;
    signals_let_go();
    assert_int_equal(sigprocmask(SIG_BLOCK, NULL, &blocked), 0);
    assert_false(sigismember(&blocked, SIGTERM));
    signals_hold();
    assert_int_equal(sigprocmask(SIG_BLOCK, NULL, &blocked), 0);
    assert_true(sigismember(&blocked, SIGTERM));
}

static void test_nothing_frees(void **state)
{
    (void)state;
    signals_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_none),
        cmocka_unit_test(test_those_that_came_before),
        cmocka_unit_test(test_each_is_taken_once),
        cmocka_unit_test(test_let_go),
        cmocka_unit_test(test_nothing_frees),
    };
    signals_hold();
    return cmocka_run_group_tests_name("io/signals", tests, NULL, NULL);
}
