/* Cuts the files of make's data base: what `graph/makedb.py` (`_row`) does with one block, for all of them.
 *
 * It knows no names and joins no rules: each block that is a rule becomes a row, whose pieces stand in columns of lines, and
 * whose facts are a byte.  makedb.py says what a block is and where its pieces stand; this must say exactly the same.
 */
#define _GNU_SOURCE
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { IS_TARGET = 1, IS_PHONY = 2, IS_ABSENT = 4, HAS_FAILED = 8, HAS_PLACE = 16 };

struct column {
    char *text;
    size_t size, room;
};

/* What Python reads (blocks.py); lines end in a newline, all columns have as many. */
struct table {
    struct column names, prerequisites, also, places, facts;
    int out_of_memory;
};

static void put(struct table *table, struct column *column, const char *from, const char *to)
{
    size_t size = (size_t)(to - from);
    if (!size)
        return;
    if (column->room - column->size < size) {
        size_t room = 2 * (column->room + size) + 4096;
        char *text = realloc(column->text, room);
        if (!text) {
            table->out_of_memory = 1;
            return;
        }
        column->text = text;
        column->room = room;
    }
    memcpy(column->text + column->size, from, size);
    column->size += size;
}

static void put_character(struct table *table, struct column *column, char character)
{
    put(table, column, &character, &character + 1);
}

static void put_line(struct table *table, struct column *column, const char *from, const char *to)
{
    if (from)
        put(table, column, from, to);
    put_character(table, column, '\n');
}

#define FIND(from, to, literal) ((const char *)memmem((from), (size_t)((to) - (from)), (literal), sizeof(literal) - 1))
#define BEGINS(at, end, literal) \
    ((size_t)((end) - (at)) >= sizeof(literal) - 1 && memcmp((at), (literal), sizeof(literal) - 1) == 0)

static const char *end_of_line(const char *at, const char *end)
{
    const char *found = at < end ? memchr(at, '\n', (size_t)(end - at)) : NULL;
    return found ? found : end;
}

/* The last occurrence of `', line ` in a line; NULL if there is none. */
static const char *before_number(const char *from, const char *to)
{
    const char *last = NULL;
    for (const char *at = from; (at = FIND(at, to, "', line ")) != NULL; at++)
        last = at;
    return last;
}

static void rule(struct table *table, const char *block, const char *end)
{
    const char *facts = FIND(block, end, "\n#  ");
    if (!facts || BEGINS(facts + 1, end, "#  Builtin rule"))
        return;
    const char *line = facts;
    while (line > block && line[-1] != '\n')
        line--;

    const char *name_end, *prerequisites;
    if (facts > line && facts[-1] == ':') {
        name_end = facts - 1;
        prerequisites = facts;
    } else {
        name_end = FIND(line, facts, ": ");
        if (!name_end)
            return;
        prerequisites = name_end + 2;
    }

    const char *recipe = NULL, *automatic = NULL; /* the newlines before the first line of each */
    for (const char *at = facts; at < end && !(recipe && automatic); at = end_of_line(at + 1, end)) {
        if (!recipe && BEGINS(at, end, "\n#  recipe to execute (from '"))
            recipe = at;
        else if (!automatic && BEGINS(at, end, "\n# automatic"))
            automatic = at;
    }
    const char *facts_end = automatic ? automatic : recipe ? recipe : end;

    char kept = 0;
    const char *also = NULL;
    for (const char *at = facts; at < facts_end; at = end_of_line(at + 1, end)) {
        if (BEGINS(at, facts_end, "\n#  Phony target"))
            kept |= IS_PHONY;
        else if (BEGINS(at, facts_end, "\n#  File does not exist"))
            kept |= IS_ABSENT;
        else if (BEGINS(at, facts_end, "\n#  Failed to be updated"))
            kept |= HAS_FAILED;
        else if (!also && BEGINS(at, facts_end, "\n#  Also makes: "))
            also = at + sizeof("\n#  Also makes: ") - 1;
    }
    if (!FIND(block, line, "# Not a target:"))
        kept |= IS_TARGET;

    if (recipe) {
        const char *from = recipe + sizeof("\n#  recipe to execute (from '") - 1, *to = end_of_line(from, end);
        const char *number = before_number(from, to);
        if (number) {
            kept |= HAS_PLACE;
            put(table, &table->places, from, number);
            put_character(table, &table->places, ':');
            number += sizeof("', line ") - 1;
            put(table, &table->places, number, to - number > 2 ? to - 2 : number);
        }
    }
    put_line(table, &table->places, NULL, NULL);
    put_line(table, &table->names, line, name_end);
    put_line(table, &table->prerequisites, prerequisites, facts);
    put_line(table, &table->also, also, also ? end_of_line(also, end) : NULL);
    put_character(table, &table->facts, kept);
}

/* Cut what stands between empty lines in `text`, which begins with the newline before the first block. */
struct table *cut_blocks(const char *text, size_t size)
{
    struct table *table = calloc(1, sizeof *table);
    if (!table || !size)
        return table;
    const char *end = text + size;
    for (const char *start = text + 1; start <= end && !table->out_of_memory;) {
        const char *empty = FIND(start, end, "\n\n");
        rule(table, start, empty ? empty : end);
        start = empty ? empty + 2 : end + 1;
    }
    return table;
}

void free_table(struct table *table)
{
    struct column *columns[] = {&table->names, &table->prerequisites, &table->also, &table->places, &table->facts};
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
        free(columns[i]->text);
    free(table);
}
