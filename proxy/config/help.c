/* Lays out the help text. Owns nothing. */
#include "config/help.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define HELP_INDENT 36 /* columns before the help of a flag */

/* A paragraph under construction: words are put on the line until it is full. */
struct help_page {
    struct buf *text;
    size_t column;
};

static int help_new_line(struct help_page *page)
{
    page->column = HELP_INDENT;
    return buf_printf(page->text, "\n%*s", HELP_INDENT, "");
}

/* Add bytes that stay on one line. */
static int help_add_word(struct help_page *page, const char *word, size_t bytes)
{
    int result = 0;
    bool first = page->column == HELP_INDENT;
    if (!first && page->column + 1 + bytes > HELP_COLUMNS) {
        result = help_new_line(page);
        first = true;
    }
    page->column += bytes + !first;
    return result < 0 ? result
                      : buf_printf(page->text, "%s%.*s", first ? "" : " ", (int)bytes, word);
}

/* Add words that are separated by single spaces. */
static int help_add_words(struct help_page *page, const char *words)
{
    int result = 0;
    while (result == 0 && *words != '\0') {
        size_t bytes = strcspn(words, " ");
        result = help_add_word(page, words, bytes);
        words += bytes;
        words += *words == ' ';
    }
    return result;
}

/* Add "Required." or the default. */
static int help_add_default(struct help_page *page, const struct flag *flag)
{
    if (flag->required) {
        return help_add_words(page, "Required.");
    }
    if (flag->standard == NULL || flag->standard[0] == '\0') {
        return 0;
    }
    char word[HELP_COLUMNS - HELP_INDENT + 1];
    int bytes = snprintf(word, sizeof(word), "Default: %s", flag->standard);
    if (bytes > 0 && (size_t)bytes < sizeof(word)) {
        return help_add_word(page, word, (size_t)bytes);
    }
    int result = help_add_words(page, "Default:");
    return result < 0 ? result : help_add_words(page, flag->standard);
}

static int help_print_flag(const struct flag *flag, struct buf *text)
{
    size_t size = text->size;
    int result = flag->kind == FLAG_BOOL && flag->standard != NULL
                     ? buf_printf(text, "  --[no-]%s", flag->name)
                     : buf_printf(text, "  --%s%s%s", flag->name,
                                  flag->argument[0] == '\0' ? "" : "=", flag->argument);
    if (result < 0) {
        return result;
    }
    struct help_page page = {.text = text, .column = text->size - size};
    if (page.column + 2 > HELP_INDENT) {
        result = help_new_line(&page);
    } else {
        result = buf_printf(text, "%*s", (int)(HELP_INDENT - page.column), "");
        page.column = HELP_INDENT;
    }
    if (result == 0) {
        result = help_add_words(&page, flag->help);
    }
    if (result == 0) {
        result = help_add_default(&page, flag);
    }
    return result < 0 ? result : buf_append(text, "\n", 1);
}

int help_print(const struct flag_table *table, struct buf *text)
{
    size_t size = text->size;
    int result = 0;
    for (size_t i = 0; result == 0 && i < table->count; i++) {
        const struct flag *flag = &table->flags[i];
        if (i == 0 || strcmp(table->flags[i - 1].group, flag->group) != 0) {
            result = buf_printf(text, "\n%s:\n", flag->group);
        }
        if (result == 0) {
            result = help_print_flag(flag, text);
        }
    }
    if (result < 0) {
        text->size = size;
    }
    return result;
}
