/* Lua files of rewards: whatever a file holds, it is refused with a text, or runs within its bounds
 * and gives finite rewards. */
#include <math.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/relabel/script.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/trajectories.h"

enum { T = 1 }; /* a call may take SCRIPT_SECONDS_MAX, and an input must end in time */

static const char *path;
static struct signature signature;
static struct episode episode;

static const char *const seeds_text[] = {
    "return { near = function(now, action, after)\n"
    "  local x = after.position[1] - now.position[1]\n"
    "  return math.max(0, 1 - math.abs(x)) + action[2] * 0.1\n"
    "end }\n",
    "local function sum(t) local s = 0 for i = 1, #t do s = s + t[i] end return s end\n"
    "return { a = function(now) return sum(now.velocity) end,\n"
    "         b = function(_, action) return action[1] > 0 and 1 or 0 end }\n",
    "return { text = function(now) local s = ('x'):rep(64) return #s / 64 end }\n",
};

static size_t make_seeds(struct fuzz_input *seeds, const char *scratch)
{
    path = fuzz_path(scratch, "rewards.lua");
    trajectories_signature(&signature, 1);
    trajectories_episode(&episode, &signature, T, 1, true);
    const size_t n = sizeof seeds_text / sizeof seeds_text[0];
    for (size_t i = 0; i < n; i++) {
        seeds[i] = (struct fuzz_input){(void *)(uintptr_t)seeds_text[i], strlen(seeds_text[i])};
    }
    return n;
}

static bool run(const void *input, size_t size)
{
    struct script *script;
    struct err err = {0};
    float rewards[T * SIGNATURE_TASKS_MAX];
    fuzz_write_file(path, input, size);
    if (script_open(&script, path, &signature, &err) != STATUS_OK) {
        fuzz_must(err.text[0] == '\0', "no text");
        return false;
    }
    const bool ran = script_run(script, &episode, rewards, &err) == STATUS_OK;
    for (uint32_t i = 0; ran && i < T * script_n(script); i++) {
        fuzz_must(!isfinite(rewards[i]), "a reward that is not finite");
    }
    fuzz_must(!ran && err.text[0] == '\0', "no text");
    script_close(script);
    return true;
}

static const char *const words[] = {"while true do end",
                                    "string.rep('a', 1e9)",
                                    "..",
                                    "('%d'):rep(1e6)",
                                    "setmetatable({}, {})",
                                    "error({})",
                                    "0/0",
                                    "math.huge",
                                    "goto l ::l::",
                                    "pcall(",
                                    "coroutine",
                                    "\27Lua",
                                    "\"\\z\"",
                                    "[==[",
                                    "string.format('%99.99f', 1)",
                                    "x = {} for i = 1, 1e8 do x[i] = i end",
                                    NULL};

int main(int argc, char **argv)
{
    const struct fuzz_target target = {"script", make_seeds, run, words};
    return fuzz_main(&target, argc, argv);
}
