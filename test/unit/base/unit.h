/* What the unit tests of base and config share: cmocka with what it needs, and a child process for
 * code that must end the program. */
#ifndef AGENT_PROXY_TEST_UNIT_H
#define AGENT_PROXY_TEST_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Run act(argument) in a child and return its wait status; what it wrote to stderr, up to room - 1
 * bytes, is put into text. */
static inline int unit_run_child(void (*act)(void *argument), void *argument, char *text,
                                 size_t room)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct rlimit none = {0, 0};
        (void)setrlimit(RLIMIT_CORE, &none);
        (void)dup2(ends[1], STDERR_FILENO);
        act(argument);
        _exit(0);
    }
    close(ends[1]);
    size_t size = 0;
    ssize_t got;
    while (size + 1 < room && (got = read(ends[0], text + size, room - 1 - size)) > 0) {
        size += (size_t)got;
    }
    text[size] = '\0';
    close(ends[0]);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

/* A generator that gives the same numbers in each run. Owner: the test; any start but 0. */
static inline uint64_t unit_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

#endif
