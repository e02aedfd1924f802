/* Certificates, keys, passwords and tokens change while the program runs: their files are watched,
 * read again, judged by sides, and handed to the workers, or left as they were. */
#ifndef AGENT_PROXY_RELOAD_H
#define AGENT_PROXY_RELOAD_H

#include "flow/admin.h"

#include <stddef.h>
#include <stdint.h>

struct config;
struct log;
struct loop;
struct material;
struct reload;
struct worker;

/* Owner: main. All is lent until reload_free(); material is held, not consumed.
 * Errors: NULL without memory. Without inotify files are looked at now and then, which is logged.
 */
__attribute__((warn_unused_result)) struct reload *
reload_new(const struct config *config, const struct log *log, struct material *material,
           struct worker *const *workers, size_t worker_count, struct admin_shared *shared,
           struct loop *loop);
void reload_free(struct reload *reload);

/* Read everything again soon. reason is for the log. */
void reload_ask(struct reload *reload, const char *reason);

/* One phase of main's turn, and when it is due. Units: [us] monotonic, or LOOP_NEVER. */
void reload_tick(struct reload *reload);
uint64_t reload_deadline_us(const struct reload *reload);

#endif
