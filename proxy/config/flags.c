/* Reads values into the fields that a table names. Owns the strings of FLAG_STRING fields until
 * flags_deinit(). */
#include "config/flags.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/escape.h"
#include "config/value.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FLAG_SHOWN_BYTES_MAX 120 /* [bytes] of a value or a name in a message */
#define FLAG_NAME_BYTES_MAX  64  /* [bytes] a longer name is not compared with known ones */

/* Escape a text from outside for a message. */
static void flags_show(char shown[FLAG_SHOWN_BYTES_MAX + 1], const char *text, size_t bytes)
{
    size_t size = escape_json(shown, FLAG_SHOWN_BYTES_MAX, text, bytes);
    shown[size] = '\0';
}

/* A value on its way into a field. */
struct flag_input {
    const struct flag *flag;
    const char *where; /* NULL: "--name" */
    const char *text;
};

/* Write '--name: "value" reason' and return -EINVAL. */
static int flag_refuse(const struct flag_input *input, const char *reason,
                       char error[FLAGS_ERROR_BYTES])
{
    const char *text = input->text;
    const char *dashes = input->where == NULL ? "--" : "";
    const char *where = input->where == NULL ? input->flag->name : input->where;
    char shown[FLAG_SHOWN_BYTES_MAX + 1];
    bool may_hold_password = strstr(text, "://") != NULL && strchr(text, '@') != NULL;
    if (input->flag->secret || may_hold_password) {
        (void)snprintf(error, FLAGS_ERROR_BYTES, "%s%s: the value (not shown) %s", dashes, where,
                       reason);
    } else {
        flags_show(shown, text, strlen(text));
        (void)snprintf(error, FLAGS_ERROR_BYTES, "%s%s: \"%s\" %s", dashes, where, shown, reason);
    }
    return -EINVAL;
}

static enum value_unit flag_unit(const struct flag *flag)
{
    return flag->kind == FLAG_BYTES      ? VALUE_BYTES
           : flag->kind == FLAG_DURATION ? VALUE_DURATION
                                         : VALUE_PLAIN;
}

static int flag_set_number(const struct flag_input *input, uint64_t *field,
                           char error[FLAGS_ERROR_BYTES])
{
    static const char *const reasons[] = {
        [VALUE_PLAIN] = "is not a whole number",
        [VALUE_BYTES] = "is not a size in bytes such as 512KiB, 32MiB or 1048576",
        [VALUE_DURATION] = "is not a duration such as 500ms, 20s or 1m30s"};
    const struct flag *flag = input->flag;
    enum value_unit unit = flag_unit(flag);
    uint64_t number = 0;
    int result = value_parse(unit, input->text, &number);
    if (result == -EINVAL) {
        return flag_refuse(input, reasons[unit], error);
    }
    if (result == -ERANGE || number < flag->min || number > flag->max) {
        char min[VALUE_TEXT_BYTES];
        char max[VALUE_TEXT_BYTES];
        char reason[2 * VALUE_TEXT_BYTES + 32];
        value_print(unit, flag->min, min);
        value_print(unit, flag->max, max);
        (void)snprintf(reason, sizeof(reason), "is not between %s and %s", min, max);
        return flag_refuse(input, reason, error);
    }
    *field = number;
    return 0;
}

static int flag_set_choice(const struct flag_input *input, void *field,
                           char error[FLAGS_ERROR_BYTES])
{
    const struct flag *flag = input->flag;
    char reason[FLAG_SHOWN_BYTES_MAX] = "is not one of";
    size_t size = strlen(reason);
    for (unsigned i = 0; i < FLAG_CHOICES_MAX && flag->choices[i] != NULL; i++) {
        if (strcmp(input->text, flag->choices[i]) == 0) {
            memcpy(field, &i, sizeof(i)); /* an enum without negative values is an unsigned int */
            return 0;
        }
        int printed = snprintf(reason + size, sizeof(reason) - size, "%s %s", i > 0 ? "," : "",
                               flag->choices[i]);
        assert(printed > 0 && (size_t)printed < sizeof(reason) - size);
        size += (size_t)printed;
    }
    return flag_refuse(input, reason, error);
}

static void flag_free(const struct flag *flag, char *text)
{
    if (flag->secret && text != NULL) {
        explicit_bzero(text, strlen(text));
    }
    free(text);
}

static int flag_set_string(const struct flag_input *input, char **field,
                           char error[FLAGS_ERROR_BYTES])
{
    const struct flag *flag = input->flag;
    const char *text = input->text;
    bool none = flag->optional && text[0] == '\0';
    const char *reason = flag->check == NULL || none ? NULL : flag->check(text);
    if (reason != NULL) {
        return flag_refuse(input, reason, error);
    }
    flag_free(flag, *field);
    *field = none ? NULL : alloc_copy(text, strlen(text));
    return 0;
}

int flag_set(const struct flag *flag, const char *where, const char *text, void *settings,
             char error[FLAGS_ERROR_BYTES])
{
    const struct flag_input given = {.flag = flag, .where = where, .text = text};
    const struct flag_input *input = &given;
    void *field = (char *)settings + flag->offset;
    const char *reason = NULL;
    switch (flag->kind) {
    case FLAG_STRING:
        return flag_set_string(input, field, error);
    case FLAG_BOOL:
        if (value_parse_bool(text, field) < 0) {
            return flag_refuse(input, "is neither true nor false", error);
        }
        return 0;
    case FLAG_NUMBER:
    case FLAG_BYTES:
    case FLAG_DURATION:
        return flag_set_number(input, field, error);
    case FLAG_CHOICE:
        return flag_set_choice(input, field, error);
    case FLAG_CUSTOM:
    default:
        reason = flag->set(settings, text);
        return reason == NULL ? 0 : flag_refuse(input, reason, error);
    }
}

int flag_print(const struct flag *flag, const void *settings, struct buf *text)
{
    const void *field = (const char *)settings + flag->offset;
    char number[VALUE_TEXT_BYTES];
    unsigned choice = 0;
    uint64_t value = 0;
    const char *string = NULL;
    switch (flag->kind) {
    case FLAG_STRING:
        memcpy(&string, field, sizeof(string));
        return string == NULL ? 0 : buf_append(text, string, strlen(string));
    case FLAG_BOOL:
        string = *(const bool *)field ? "true" : "false";
        return buf_append(text, string, strlen(string));
    case FLAG_NUMBER:
    case FLAG_BYTES:
    case FLAG_DURATION:
        memcpy(&value, field, sizeof(value));
        value_print(flag_unit(flag), value, number);
        return buf_append(text, number, strlen(number));
    case FLAG_CHOICE:
        memcpy(&choice, field, sizeof(choice));
        assert(choice < FLAG_CHOICES_MAX && flag->choices[choice] != NULL);
        return buf_append(text, flag->choices[choice], strlen(flag->choices[choice]));
    case FLAG_CUSTOM:
    default:
        return flag->print(settings, text);
    }
}

int flags_set_defaults(const struct flag_table *table, void *settings,
                       char error[FLAGS_ERROR_BYTES])
{
    int result = 0;
    for (size_t i = 0; result == 0 && i < table->count; i++) {
        if (table->flags[i].standard != NULL) {
            result = flag_set(&table->flags[i], NULL, table->flags[i].standard, settings, error);
        }
    }
    return result;
}

const struct flag *flags_find(const struct flag_table *table, const char *name, size_t bytes)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct flag *flag = &table->flags[i];
        if (strlen(flag->name) == bytes && memcmp(flag->name, name, bytes) == 0) {
            return flag;
        }
    }
    return NULL;
}

/* Number of letters to add, remove or change to make one name of the other (Levenshtein). */
static size_t flags_distance(const char *from, size_t from_bytes, const char *to, size_t to_bytes)
{
    size_t row[FLAG_NAME_BYTES_MAX + 1]; /* distances of from[0..i) to each start of to */
    assert(to_bytes <= FLAG_NAME_BYTES_MAX);
    for (size_t j = 0; j <= to_bytes; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= from_bytes; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= to_bytes; j++) {
            size_t change = diagonal + (from[i - 1] != to[j - 1]);
            size_t step = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = change < step ? change : step;
        }
    }
    return row[to_bytes];
}

/* The flag that was probably meant; NULL when none is near. */
static const struct flag *flags_find_nearest(const struct flag_table *table, const char *name,
                                             size_t bytes)
{
    const struct flag *nearest = NULL;
    size_t best = bytes / 4 + 2; /* one letter of four, and no fewer than one */
    for (size_t i = 0; bytes <= FLAG_NAME_BYTES_MAX && i < table->count; i++) {
        const char *known = table->flags[i].name;
        size_t known_bytes = strlen(known);
        size_t gap = bytes > known_bytes ? bytes - known_bytes : known_bytes - bytes;
        size_t distance =
            gap < best ? flags_distance(name, bytes, known, known_bytes) : gap; /* no nearer */
        if (distance < best) {
            best = distance;
            nearest = &table->flags[i];
        }
    }
    return nearest;
}

static void flags_refuse_unknown(const struct flag_table *table, const char *argument, size_t bytes,
                                 char error[FLAGS_ERROR_BYTES])
{
    char shown[FLAG_SHOWN_BYTES_MAX + 1];
    flags_show(shown, argument, bytes);
    size_t dashes = strspn(argument, "-");
    if (dashes == 0) {
        (void)snprintf(error, FLAGS_ERROR_BYTES,
                       "\"%s\": only flags are expected, each beginning with --", shown);
        return;
    }
    size_t skipped = dashes < bytes ? dashes : bytes;
    const struct flag *nearest = flags_find_nearest(table, argument + skipped, bytes - skipped);
    (void)snprintf(error, FLAGS_ERROR_BYTES, "%s: unknown flag%s%s%s", shown,
                   nearest == NULL ? "" : ", did you mean --", nearest == NULL ? "" : nearest->name,
                   nearest == NULL ? "; --help lists them" : "?");
}

void flags_explain_unknown(const struct flag_table *table, const char *where, const char *name,
                           char error[FLAGS_ERROR_BYTES])
{
    char shown[FLAG_SHOWN_BYTES_MAX + 1];
    flags_show(shown, name, strlen(name));
    const struct flag *nearest = flags_find_nearest(table, name, strlen(name));
    (void)snprintf(error, FLAGS_ERROR_BYTES, "%s: \"%s\" is no flag%s%s%s", where, shown,
                   nearest == NULL ? "" : ", did you mean ", nearest == NULL ? "" : nearest->name,
                   nearest == NULL ? "; --help lists them" : "?");
}

/* One argument taken apart. */
struct flags_word {
    const struct flag *flag;
    const char *value; /* NULL: none in this argument */
    bool negated;      /* "--no-name" */
};

static int flags_take_apart(const struct flag_table *table, const char *argument,
                            struct flags_word *word, char error[FLAGS_ERROR_BYTES])
{
    size_t bytes = strcspn(argument, "=");
    if (strncmp(argument, "--", 2) != 0 || bytes <= 2) {
        flags_refuse_unknown(table, argument, bytes, error);
        return -EINVAL;
    }
    const char *name = argument + 2;
    struct flags_word found = {.flag = flags_find(table, name, bytes - 2)};
    if (found.flag == NULL && bytes > 5 && strncmp(name, "no-", 3) == 0) {
        found.flag = flags_find(table, name + 3, bytes - 5);
        found.negated = true;
    }
    if (found.flag == NULL || (found.negated && found.flag->kind != FLAG_BOOL)) {
        flags_refuse_unknown(table, argument, bytes, error);
        return -EINVAL;
    }
    found.value = argument[bytes] == '=' ? argument + bytes + 1 : NULL;
    if (found.negated && found.value != NULL) {
        (void)snprintf(error, FLAGS_ERROR_BYTES, "--no-%s: takes no value", found.flag->name);
        return -EINVAL;
    }
    *word = found;
    return 0;
}

/* A manifest that writes --name="value" without a shell passes the quotes on. */
char *flags_unquote(const char *text)
{
    size_t bytes = strlen(text);
    bool quoted = bytes >= 2 && (text[0] == '"' || text[0] == '\'') && text[bytes - 1] == text[0];
    return quoted ? alloc_copy(text + 1, bytes - 2) : alloc_copy(text, bytes);
}

static bool flags_is_bool(const char *text)
{
    return text != NULL && (strcmp(text, "true") == 0 || strcmp(text, "false") == 0);
}

/* Find the value of a flag; next is the argument after it or NULL. Returns NULL when it has none;
 * *used_next: the value is next. */
static const char *flags_find_value(const struct flags_word *word, const char *next,
                                    bool *used_next)
{
    if (word->value != NULL) {
        return word->value;
    }
    if (word->flag->kind == FLAG_BOOL) {
        if (word->negated) {
            return "false";
        }
        *used_next = flags_is_bool(next);
        return *used_next ? next : "true";
    }
    *used_next = next != NULL && strncmp(next, "--", 2) != 0;
    return *used_next ? next : NULL;
}

int flags_set_arguments(const struct flag_table *table, int argc, char *const *argv, void *settings,
                        bool *given, char error[FLAGS_ERROR_BYTES])
{
    for (int i = 0; i < argc; i++) {
        struct flags_word word = {0};
        int result = flags_take_apart(table, argv[i], &word, error);
        if (result < 0) {
            return result;
        }
        bool used_next = false;
        const char *next = i + 1 < argc ? argv[i + 1] : NULL;
        const char *value = flags_find_value(&word, next, &used_next);
        if (value == NULL) {
            (void)snprintf(error, FLAGS_ERROR_BYTES, "--%s: a value is missing", word.flag->name);
            return -EINVAL;
        }
        char *bare = flags_unquote(value);
        result = flag_set(word.flag, NULL, bare, settings, error);
        flag_free(word.flag, bare);
        if (result < 0) {
            return result;
        }
        given[word.flag - table->flags] = true;
        i += used_next;
    }
    return 0;
}

int flags_check_required(const struct flag_table *table, const bool *given,
                         char error[FLAGS_ERROR_BYTES])
{
    for (size_t i = 0; i < table->count; i++) {
        if (table->flags[i].required && !given[i]) {
            (void)snprintf(error, FLAGS_ERROR_BYTES, "--%s: is required, and was not given",
                           table->flags[i].name);
            return -EINVAL;
        }
    }
    return 0;
}

void flags_deinit(const struct flag_table *table, void *settings)
{
    for (size_t i = 0; i < table->count; i++) {
        if (table->flags[i].kind == FLAG_STRING) {
            char **field = (void *)((char *)settings + table->flags[i].offset);
            flag_free(&table->flags[i], *field);
            *field = NULL;
        }
    }
}
