/* Command-line options of the form --name=value, from one table that also prints --help. */
#ifndef BENCH_ARGS_H
#define BENCH_ARGS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARGS_LIST_MAX 8

/* Values of an option that may be given several times. Owner: borrows argv. */
struct args_list {
    const char *values[ARGS_LIST_MAX];
    size_t count;
};

enum args_kind { ARGS_TEXT, ARGS_U64, ARGS_I64, ARGS_F64, ARGS_FLAG, ARGS_LIST };

struct args_option {
    const char *name;
    enum args_kind kind;
    void *target; /* const char *, uint64_t, int64_t, double, bool, struct args_list; by kind */
    const char *help;
};

/* Fill the targets from argv. Ends the program: --help with 0, anything wrong with 2 and a line on
 * stderr that says which option and why. */
void args_parse(int argc, char *const *argv, const struct args_option *options, size_t count);

/* End the program with exit code 2. */
__attribute__((noreturn, format(printf, 1, 2))) void args_fail(const char *format, ...);

/* Resolve "host:port" to an IPv4 address; ends the program with exit code 2 when it cannot. */
void args_address(const char *text, struct sockaddr_in *address);

#define ARGS_HOST_BYTES 256

/* An http:// URL, taken apart. Owner: borrows the text that it came from. */
struct args_url {
    struct sockaddr_in address;
    char host[ARGS_HOST_BYTES]; /* host:port, as for a Host header */
    const char *path;           /* begins with '/' */
};

/* Shape: "http://host:port/path". Ends the program with exit code 2 when text (may be NULL) is
 * none; name is the option's. */
void args_url(const char *name, const char *text, struct args_url *url);

#endif
