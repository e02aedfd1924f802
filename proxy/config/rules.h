/* What single values must be. Each function returns NULL, or why the text is refused, to follow it
 * in a message. */
#ifndef AGENT_PROXY_CONFIG_RULES_H
#define AGENT_PROXY_CONFIG_RULES_H

/* [A-Za-z0-9_.-]{1,64}, but not "." or "..": it becomes a segment of a path. */
const char *rules_check_tenant(const char *text);

/* A header name that the proxy does not set itself. */
const char *rules_check_header(const char *text);

/* The path of a file. Whether it is there is seen when it is read. */
const char *rules_check_file(const char *text);

/* A host name or an IP address, as it stands in a certificate. */
const char *rules_check_server_name(const char *text);

/* An http or https URL of any kind. */
const char *rules_check_probe(const char *text);

#endif
