/* commands/command.h - what a subcommand is, and its parsed command line.
 *
 * Why:      one table drives parsing, --help and the list of commands; adding a command is adding a file and a row in main.c.
 * Thread:   main thread, before anything else runs.
 * Errors:   usage errors print one line and a pointer to --help, and exit 64 (EX_USAGE).
 */
#ifndef VD_COMMANDS_COMMAND_H
#define VD_COMMANDS_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

struct vd_option {
    const char *name; /* long name without dashes; NULL ends the table */
    char letter;      /* 0: none */
    const char *arg;  /* placeholder of its argument, NULL for a flag */
    const char *help; /* one line */
    bool repeats;     /* may be given more than once */
};

struct vd_args;

struct vd_command {
    const char *name;
    const char *usage;   /* what follows the name: "EXPR | --batch" */
    const char *summary; /* one line for `verdict --help` */
    const char *about;   /* paragraphs and examples for `verdict NAME --help` */
    const struct vd_option *options;
    size_t min_operands;
    size_t max_operands;
    int (*run)(const struct vd_args *args); /* exit status by sysexits(3) */
};

/* Parse argv (argv[0] is the command's name), print help or a usage error where due, or run. Returns the exit status. */
int vd_command_main(const struct vd_command *command, int argc, char **argv);

bool vd_args_has(const struct vd_args *args, const char *option);
/* Argument of an option (the last one given), or fallback. */
const char *vd_args_get(const struct vd_args *args, const char *option, const char *fallback);
/* The i-th value of a repeating option, NULL past the end. */
const char *vd_args_nth(const struct vd_args *args, const char *option, size_t i);
size_t vd_args_operand_count(const struct vd_args *args);
const char *vd_args_operand(const struct vd_args *args, size_t i); /* NULL past the end */
/* A whole number in [min,max], else prints a usage error and returns false. Absent: *ret = fallback. */
bool vd_args_u64(const struct vd_args *args, const char *option, unsigned long long min,
                 unsigned long long max, unsigned long long fallback, unsigned long long *ret);

#endif
