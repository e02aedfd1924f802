/* The status page, made of status_page.html by the build. */
#ifndef AGENT_PROXY_FLOW_STATUS_PAGE_H
#define AGENT_PROXY_FLOW_STATUS_PAGE_H

#include <stddef.h>

extern const unsigned char status_page[];
extern const size_t status_page_bytes;

#endif
