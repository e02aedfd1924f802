/* Checks passwords against their bcrypt hashes on a thread of its own: a check takes 50 to 100 ms
 * of CPU, and longer where the CPU is rationed. One for each worker; the thread is made with the
 * first check.
 *
 *   worker: password_checker_add() -> thread: bcrypt -> loop_wake() -> worker: ..._take() */
#ifndef AGENT_PROXY_IO_PASSWORD_CHECKER_H
#define AGENT_PROXY_IO_PASSWORD_CHECKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;
struct password_checker;

#define PASSWORD_CHECKS_MAX   16 /* that wait at once */
#define PASSWORD_DIGEST_BYTES 32

/* loop is the worker's, woken when a check is done; lent until password_checker_free().
 * Errors: NULL without memory or randomness. */
__attribute__((warn_unused_result)) struct password_checker *
password_checker_new(struct loop *loop);

/* Drops what waits, and waits for the end of the check that is under way. */
void password_checker_free(struct password_checker *checker);

/* Ask whether password is the one of hash, a bcrypt hash; both are copied, and the password is
 * wiped after use. arg comes back from password_checker_take().
 * Errors: -EAGAIN: too many wait; -ENOMEM: no thread can be made. */
__attribute__((warn_unused_result)) int password_checker_add(struct password_checker *checker,
                                                             const char *password, const char *hash,
                                                             void *arg);

/* The next check that is done, in the order of asking: its arg and answer. False: none. */
bool password_checker_take(struct password_checker *checker, void **arg, bool *matches);

/* What stands for a secret where it must be recognised again but not kept: its digest under a key
 * that is this checker's own and random. */
void password_checker_digest(const struct password_checker *checker, const void *secret,
                             size_t bytes, uint8_t digest[PASSWORD_DIGEST_BYTES]);

#endif
