/* Another program's answer, through a pipe. */
#include "deploy/local/program_output.h"

#include <sys/wait.h>
#include <unistd.h>

#include "common/base/memory.h"

/* More than any program's table of options has. */
#define BYTES_MAX (256u << 10)

char *program_output(const char *const argv[])
{
    /* The program writes into a pipe, which this process reads. */
    int pipe_fds[2];
    if (pipe(pipe_fds) != 0) {
        return NULL;
    }
    const pid_t pid = fork();
    if (pid == 0) {
        dup2(pipe_fds[1], STDOUT_FILENO);
        execvp(argv[0], (char *const *)argv);
        _exit(127);
    }
    /* Our copy of the writing end must be closed, or the read below would never meet the end of the
     * file. */
    close(pipe_fds[1]);
    char *output = pid > 0 ? mem_new(BYTES_MAX) : NULL;
    size_t used = 0;
    ssize_t n = 0;
    while (output != NULL && used + 1 < BYTES_MAX &&
           (n = read(pipe_fds[0], output + used, BYTES_MAX - used - 1)) > 0) {
        used += (size_t)n;
    }
    close(pipe_fds[0]);
    /* Half of an answer is of no use: a program that fails has none. */
    int result = 1;
    if (pid > 0 && (waitpid(pid, &result, 0) != pid || result != 0)) {
        mem_free(output);
        output = NULL;
    }
    return output;
}
