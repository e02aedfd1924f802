/* The signals that steer the program, taken one by one from the loop. */
#ifndef AGENT_PROXY_IO_SIGNALS_H
#define AGENT_PROXY_IO_SIGNALS_H

#include <stdbool.h>

struct loop;
struct signals;

/* From here on SIGTERM, SIGINT and SIGHUP wait until they are taken, and SIGPIPE is ignored. Before
 * any thread is made, which inherits it, and early: of process 1 in a container the kernel drops
 * what is neither held nor handled. */
void signals_hold(void);

/* Undo signals_hold() where nobody will take them. */
void signals_let_go(void);

/* Wake loop, which is lent, when one has come or had come. Errors: NULL and errno. */
__attribute__((warn_unused_result)) struct signals *signals_new(struct loop *loop);
void signals_free(struct signals *signals);

/* Whether there may be one to take. */
bool signals_wait(const struct signals *signals);

/* The next that has come; 0: none. */
int signals_take(struct signals *signals);

#endif
