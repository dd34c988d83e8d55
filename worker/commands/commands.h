/* commands/commands.h - every subcommand, each in the file of its name.
 *
 * Why:      main.c lists them in its table; a new command adds a line here, a row there.
 */
#ifndef VD_COMMANDS_COMMANDS_H
#define VD_COMMANDS_COMMANDS_H

#include "commands/command.h"

extern const struct vd_command vd_command_run;
extern const struct vd_command vd_command_demo;
extern const struct vd_command vd_command_check;
extern const struct vd_command vd_command_test;
extern const struct vd_command vd_command_decide;
extern const struct vd_command vd_command_redrive;
extern const struct vd_command vd_command_offsets;
extern const struct vd_command vd_command_state;
extern const struct vd_command vd_command_eval;
extern const struct vd_command vd_command_validate;
extern const struct vd_command vd_command_json;
extern const struct vd_command vd_command_model_sim;
extern const struct vd_command vd_command_health;

#endif
