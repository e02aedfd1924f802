/* Settings described by a table: each row names a flag and the field that it fills.
 *
 * Every source of values (defaults, a file, the environment, the command line) goes
 * through flag_set(), from the weakest to the strongest, so a value is read and refused in the
 * same way wherever it comes from. Nothing here knows this program's flags. */
#ifndef AGENT_PROXY_CONFIG_FLAGS_H
#define AGENT_PROXY_CONFIG_FLAGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a value is and the type of the field at offset. */
enum flag_kind {
    FLAG_STRING,   /* char *, owned by the settings */
    FLAG_BOOL,     /* bool */
    FLAG_NUMBER,   /* uint64_t, a whole number */
    FLAG_BYTES,    /* uint64_t [bytes], "32MiB" */
    FLAG_DURATION, /* uint64_t [us], "1m30s" */
    FLAG_CHOICE,   /* an enum of consecutive values from 0, the order of choices */
    FLAG_CUSTOM    /* what set() fills; offset is not used */
};

/* Where a flag may be given. */
enum flag_scope {
    FLAG_ANYWHERE,
    FLAG_NOT_IN_FILE,    /* it names the file */
    FLAG_ON_COMMAND_LINE /* it asks for something else than to run */
};

#define FLAG_CHOICES_MAX 8

struct buf;

/* One flag. Constant; strings outlive the table. */
struct flag {
    const char *name;     /* without the leading "--" */
    const char *group;    /* heading in the help text; rows of a group stand together */
    const char *argument; /* what the help text calls the value; "" for FLAG_BOOL */
    const char *standard; /* the default as text; NULL: none, the field stays zero */
    const char *help;     /* whole sentences */
    enum flag_kind kind;
    bool required;
    bool secret; /* its value is never shown, in no message */
    enum flag_scope scope;
    bool optional; /* FLAG_STRING: an empty value is as none, NULL */
    size_t offset;
    uint64_t min; /* FLAG_NUMBER, FLAG_BYTES, FLAG_DURATION: smallest and largest value */
    uint64_t max;
    const char *choices[FLAG_CHOICES_MAX]; /* FLAG_CHOICE: ended by NULL */
    /* FLAG_STRING: check a value. Returns NULL, or why it is refused, to follow the value in a
     * message: "is too long". May be NULL. */
    const char *(*check)(const char *text);
    /* FLAG_CUSTOM: fill the settings; returns as check(). Nothing is changed on refusal. */
    const char *(*set)(void *settings, const char *text);
    /* FLAG_CUSTOM: add the value to the end of text; returns as buf_append(). */
    int (*print)(const void *settings, struct buf *text);
};

struct flag_table {
    const struct flag *flags;
    size_t count;
};

#define FLAGS_ERROR_BYTES 512 /* size of each error buffer, with the terminator */

/* Find a flag by its name without dashes; NULL when there is none. */
const struct flag *flags_find(const struct flag_table *table, const char *name, size_t bytes);

/* Give one flag a value; an earlier value is replaced. where: what to call it in a message, from
 * where it was read; NULL: "--name".
 * Errors: -EINVAL, and one line in error that names flag, value and reason; the field is then as
 * it was. */
__attribute__((warn_unused_result)) int flag_set(const struct flag *flag, const char *where,
                                                 const char *text, void *settings,
                                                 char error[FLAGS_ERROR_BYTES]);

/* Add a flag's value to the end of text, as it may be given again. Errors: as buf_append(). */
__attribute__((warn_unused_result)) int flag_print(const struct flag *flag, const void *settings,
                                                   struct buf *text);

/* Write '"name" is no flag' with the flag that was probably meant. */
void flags_explain_unknown(const struct flag_table *table, const char *where, const char *name,
                           char error[FLAGS_ERROR_BYTES]);

/* Copy a value without the one pair of quotes (" or ') that may be around it.
 * Owner: the caller, with free(). */
char *flags_unquote(const char *text);

/* Give every flag its default. Errors: as flag_set(), a defect of the table. */
__attribute__((warn_unused_result)) int
flags_set_defaults(const struct flag_table *table, void *settings, char error[FLAGS_ERROR_BYTES]);

/* Read arguments (without the program's name) into settings. given: count bools, set to true for
 * each flag that was given.
 * Shape: "--name=value" or "--name value"; a boolean also "--name" and "--no-name"; one pair of
 * quotes (" or ') around a value is stripped; the last of a repeated flag wins.
 * Errors: -EINVAL, and one line in error. */
__attribute__((warn_unused_result)) int flags_set_arguments(const struct flag_table *table,
                                                            int argc, char *const *argv,
                                                            void *settings, bool *given,
                                                            char error[FLAGS_ERROR_BYTES]);

/* Check that each required flag was given. Errors: -EINVAL, and one line in error. */
__attribute__((warn_unused_result)) int flags_check_required(const struct flag_table *table,
                                                             const bool *given,
                                                             char error[FLAGS_ERROR_BYTES]);

/* Free the strings of the FLAG_STRING fields; secret ones are wiped. */
void flags_deinit(const struct flag_table *table, void *settings);

#endif
