/* main.c - argv to a subcommand, its result to an exit status.
 *
 * Thread:   main thread.
 * Rules:    nothing else in the program calls exit(); a command returns its status (sysexits(3)).
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "commands/commands.h"

/* Read by jemalloc at start. What thousands of answered requests leave behind goes back to the system within five seconds, not ten: a tenth of
 * the memory at 5,000 in flight. (One second saves 3 % more over TLS, for a call to the kernel with every third decision.) One arena: nearly
 * all is allocated by one thread, and what another thread frees does not lie about in an arena of its own: another tenth. Not thp:always:
 * it saves 4 % of the CPU, and takes half as much memory again with 5,000 TLS connections. */
extern const char *malloc_conf;
const char *malloc_conf = "narenas:1,dirty_decay_ms:5000,muzzy_decay_ms:0";

/* In the order that --help shows them. */
static const struct vd_command *const commands[] = {
    &vd_command_run,     &vd_command_demo,
    &vd_command_check,   &vd_command_test,
    &vd_command_decide,  &vd_command_redrive,
    &vd_command_offsets, &vd_command_state,
    &vd_command_eval,    &vd_command_validate,
    &vd_command_json,    &vd_command_model_sim,
    &vd_command_health,  NULL,
};

static void print_help(FILE *out)
{
    fprintf(out,
            "verdict %s - a Kafka worker that lets a language model reason inside limits\n\n"
            "usage: verdict COMMAND [ARGUMENTS]\n\ncommands:\n",
            VD_VERSION);
    for (size_t i = 0; commands[i] != NULL; i++)
        fprintf(out, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
    fprintf(
        out,
        "\n`verdict COMMAND --help` explains one, with an example. Start with `verdict demo`.\n");
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";

    /* A peer or a reader of our output that goes away is an error code, not a death. */
    (void)signal(SIGPIPE, SIG_IGN);
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        print_help(stdout);
        return EX_OK;
    }
    if (strcmp(name, "--version") == 0) {
        printf("verdict %s\n", VD_VERSION);
        return EX_OK;
    }
    for (size_t i = 0; commands[i] != NULL; i++)
        if (strcmp(name, commands[i]->name) == 0)
            return vd_command_main(commands[i], argc - 1, argv + 1);
    if (name[0] == '\0')
        print_help(stderr);
    else
        fprintf(stderr, "verdict: no command \"%.40s\" (see `verdict --help`)\n", name);
    return EX_USAGE;
}
