/* Remote-write requests on their way in: admitted or refused at their headers, collected, decoded,
 * checked, and handed to the batcher. What is refused here never disturbs another sender. */
#ifndef AGENT_PROXY_FLOW_INTAKE_H
#define AGENT_PROXY_FLOW_INTAKE_H

struct batcher;
struct flow_context;
struct intake;
struct server_handler;

/* batcher is lent until intake_free(). Errors: NULL without memory. */
__attribute__((warn_unused_result)) struct intake *intake_new(const struct flow_context *context,
                                                              struct batcher *batcher);
void intake_free(struct intake *intake);

/* The handler of the write route. Owner: the intake. */
const struct server_handler *intake_handler(struct intake *intake);

#endif
