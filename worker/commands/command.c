/* commands/command.c - see command.h. */
#include "commands/command.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "base/span.h"

#define MAX_GIVEN 256

struct given {
    const struct vd_option *option;
    const char *value;
};

struct vd_args {
    const struct vd_command *command;
    struct given given[MAX_GIVEN];
    size_t given_count;
    const char *operands[MAX_GIVEN];
    size_t operand_count;
};

static void print_help(const struct vd_command *command)
{
    printf("usage: verdict %s %s\n\n%s\n", command->name, command->usage, command->about);
    if (command->options != NULL && command->options->name != NULL)
        printf("\noptions:\n");
    for (const struct vd_option *o = command->options; o != NULL && o->name != NULL; o++) {
        char left[64];

        (void)snprintf(left, sizeof(left), "%s%c%s--%s%s%s", o->letter ? "-" : "",
                       o->letter ? o->letter : ' ', o->letter ? ", " : "   ", o->name,
                       o->arg != NULL ? " " : "", o->arg != NULL ? o->arg : "");
        printf("  %-30s %s\n", left, o->help);
    }
}

static int usage_error(const struct vd_command *command, const char *what, const char *which)
{
    fprintf(stderr, "verdict %s: %s%s%s (see `verdict %s --help`)\n", command->name, what,
            which[0] != '\0' ? " " : "", which, command->name);
    return EX_USAGE;
}

static const struct vd_option *find(const struct vd_command *command, struct vd_span name,
                                    char letter)
{
    for (const struct vd_option *o = command->options; o != NULL && o->name != NULL; o++)
        if ((letter != 0 && o->letter == letter) || (letter == 0 && vd_span_eq_c(name, o->name)))
            return o;
    return NULL;
}

/* One option at argv[*i]; moves *i over a separate argument. Returns EX_OK or prints and returns EX_USAGE. */
static int take_option(struct vd_args *args, int argc, char **argv, int *i)
{
    const char *word = argv[*i];
    bool is_long = word[1] == '-';
    struct vd_span name = vd_span_of(word + (is_long ? 2 : 1));
    size_t eq = is_long ? vd_span_find(name, '=') : name.len;
    const char *value = eq < name.len ? name.ptr + eq + 1 : NULL;
    const struct vd_option *option =
        find(args->command, vd_span_sub(name, 0, eq), is_long ? 0 : word[1]);

    if (option == NULL || (!is_long && word[2] != '\0'))
        return usage_error(args->command, "unknown option", word);
    if (option->arg == NULL && value != NULL)
        return usage_error(args->command, "takes no value:", word);
    if (option->arg != NULL && value == NULL) {
        if (*i + 1 >= argc)
            return usage_error(args->command, "needs a value:", word);
        value = argv[++*i];
    }
    if (args->given_count == MAX_GIVEN)
        return usage_error(args->command, "too many options", "");
    if (!option->repeats && vd_args_has(args, option->name))
        return usage_error(args->command, "given twice:", word);
    args->given[args->given_count++] = (struct given){option, value};
    return EX_OK;
}

int vd_command_main(const struct vd_command *command, int argc, char **argv)
{
    struct vd_args args = {.command = command};
    bool only_operands = false;

    for (int i = 1; i < argc; i++) {
        if (!only_operands && strcmp(argv[i], "--") == 0) {
            only_operands = true;
        } else if (!only_operands &&
                   (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)) {
            print_help(command);
            return EX_OK;
        } else if (!only_operands && argv[i][0] == '-' && argv[i][1] != '\0') {
            int rc = take_option(&args, argc, argv, &i);

            if (rc != EX_OK)
                return rc;
        } else if (args.operand_count == MAX_GIVEN || args.operand_count == command->max_operands) {
            return usage_error(command, "unexpected argument", argv[i]);
        } else {
            args.operands[args.operand_count++] = argv[i];
        }
    }
    if (args.operand_count < command->min_operands)
        return usage_error(command, "missing argument: verdict", command->name);
    return command->run(&args);
}

bool vd_args_has(const struct vd_args *args, const char *option)
{
    return vd_args_nth(args, option, 0) != NULL;
}

const char *vd_args_get(const struct vd_args *args, const char *option, const char *fallback)
{
    const char *value = fallback;

    for (size_t i = 0; i < args->given_count; i++)
        if (strcmp(args->given[i].option->name, option) == 0)
            value = args->given[i].value;
    return value;
}

/* A flag has no value: "" stands for "given". */
const char *vd_args_nth(const struct vd_args *args, const char *option, size_t n)
{
    for (size_t i = 0; i < args->given_count; i++) {
        const struct given *g = &args->given[i];

        if (strcmp(g->option->name, option) == 0 && n-- == 0)
            return g->value != NULL ? g->value : "";
    }
    return NULL;
}

size_t vd_args_operand_count(const struct vd_args *args)
{
    return args->operand_count;
}

const char *vd_args_operand(const struct vd_args *args, size_t i)
{
    return i < args->operand_count ? args->operands[i] : NULL;
}

bool vd_args_u64(const struct vd_args *args, const char *option, unsigned long long min,
                 unsigned long long max, unsigned long long fallback, unsigned long long *ret)
{
    const char *text = vd_args_get(args, option, NULL);
    uint64_t v;

    if (text == NULL) {
        *ret = fallback;
        return true;
    }
    if (!vd_parse_u64(vd_span_of(text), max, &v) || v < min) {
        fprintf(stderr,
                "verdict %s: --%s must be a whole number from %llu to %llu, not \"%.40s\"\n",
                args->command->name, option, min, max, text);
        return false;
    }
    *ret = v;
    return true;
}
