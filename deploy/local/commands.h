/* The commands of `hindcast`. Each takes argv from the command's name on and returns the exit
 * status: 0, 1 failed, 2 bad usage. */
#ifndef HINDCAST_LOCAL_COMMANDS_H
#define HINDCAST_LOCAL_COMMANDS_H

int command_up(int argc, char **argv);
int command_status(int argc, char **argv);
int command_dashboard(int argc, char **argv);
int command_dataset(int argc, char **argv);
int command_plot(int argc, char **argv);
int command_replay(int argc, char **argv);
int command_policy(int argc, char **argv);
int command_certs(int argc, char **argv);
int command_doctor(int argc, char **argv);
int command_completion(int argc, char **argv);
int command_man(int argc, char **argv);

#endif
