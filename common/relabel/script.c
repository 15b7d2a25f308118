/* Running foreign Lua code safely.
 *
 * Everything that may raise a Lua error, including out of memory, runs below lua_pcall. Libraries
 * that reach files or modules, or that make results differ between runs, are not loaded. Memory is
 * limited by the allocator; instructions and time by a hook (see script.h).
 *
 * A Lua error is a longjmp: functions that run below lua_pcall hold no memory or lock of ours.
 * Between two episodes the stack has exactly the values of the enum below. */
#include "common/relabel/script.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/relabel/observation_table.h"

/* Larger files are refused. */
#define FILE_BYTES_MAX (1u << 20)
/* Room for the path, by which Lua's messages name the file. */
#define CHUNK_NAME_SIZE 4096
#define HOOK_STEPS      10000 /* instructions between two checks of the limits */

/* Positions on the Lua stack between episodes. */
enum { AT_FUNCTIONS = 1, AT_NOW, AT_ACTION, AT_AFTER, AT_LAST = AT_AFTER };

/* One interpreter, with its limits and the tasks of its file. */
struct script {
    lua_State *lua;
    size_t used; /* bytes allocated by Lua */
    /* Asked by the hook; NULL: nobody stops it. Borrowed. */
    const atomic_bool *stop;
    /* Of the call that is running: */
    uint64_t steps;
    uint64_t started_ns; /* 0: not known, since the limits have not been checked yet */
    uint64_t digest;
    const struct signature *signature;
    struct observation_table now, after;
    uint32_t n;
    char tasks[SIGNATURE_TASKS_MAX][SIGNATURE_NAME_SIZE];
};

uint32_t script_n(const struct script *script)
{
    return script->n;
}

const char *script_task(const struct script *script, uint32_t i)
{
    ASSERT(i < script->n);
    return script->tasks[i];
}

void script_set_stop(struct script *script, const atomic_bool *stop)
{
    script->stop = stop;
}

uint64_t script_digest(const struct script *script)
{
    return script->digest;
}

/* ---- limits ---- */

/* lua_Alloc with a limit. NULL makes Lua collect garbage and then raise "not enough memory". */
static void *allocate(void *arg, void *memory, size_t old_size, size_t new_size)
{
    struct script *script = arg;
    const size_t old = memory != NULL ? old_size : 0; /* else it is the kind of object */
    /* A free; Lua counts on it to succeed. */
    if (new_size == 0) {
        mem_free(memory);
        script->used -= old;
        return NULL;
    }
    /* Lua tells the kind of a new object in old_size. Comparing two long texts takes one
     * instruction, which the hook could not interrupt. */
    if (memory == NULL && old_size == LUA_TSTRING && new_size > SCRIPT_STRING_MAX) {
        return NULL;
    }
    if (new_size > old && script->used + (new_size - old) > SCRIPT_MEMORY_MAX) {
        return NULL;
    }
    /* Counted only when it succeeded. */
    void *moved = mem_resize(memory, new_size, 1);
    if (moved != NULL) {
        script->used = script->used - old + new_size;
    }
    return moved;
}

/* Lua keeps a pointer of ours beside each state; the hook gets nothing else. */
static struct script *script_of(lua_State *lua)
{
    return *(struct script **)lua_getextraspace(lua);
}

static bool is_stopped(const struct script *script)
{
    return script->stop != NULL && atomic_load(script->stop);
}

/* A lua_Hook, every HOOK_STEPS instructions. Time is limited too, since instructions do not all
 * take the same. */
static void check_limits(lua_State *lua, lua_Debug *debug)
{
    (void)debug;
    struct script *script = script_of(lua);
    script->steps += HOOK_STEPS;
    /* The first check may come early in a call, by what calls before have left of HOOK_STEPS. */
    if (script->steps > SCRIPT_STEPS_MAX) {
        luaL_error(lua, "more than %d instructions in one call", SCRIPT_STEPS_MAX);
    }
    if (is_stopped(script)) {
        luaL_error(lua, "stopped");
    }
    const uint64_t now_ns = clock_now_ns();
    if (script->started_ns == 0) {
        script->started_ns = now_ns;
    }
    if (now_ns - script->started_ns > SCRIPT_SECONDS_MAX * NS_PER_S) {
        luaL_error(lua, "more than %d seconds in one call", SCRIPT_SECONDS_MAX);
    }
}

/* A call of foreign code begins, which has the whole of its limits to itself. */
static void begin_call(struct script *script)
{
    script->steps = 0;
    script->started_ns = 0;
}

/* pcall within the limits; the error text stays on the stack. */
static bool call(lua_State *lua, int n_arguments, int n_results)
{
    begin_call(script_of(lua));
    lua_sethook(lua, check_limits, LUA_MASKCOUNT, HOOK_STEPS);
    const bool good = lua_pcall(lua, n_arguments, n_results, 0) == LUA_OK;
    lua_sethook(lua, NULL, 0, 0);
    return good;
}

/* An error may be any Lua value. */
static const char *error_text(lua_State *lua)
{
    const char *text = lua_tostring(lua, -1);
    return text != NULL ? text : "an error that is not a text";
}

static int hyperbolic_tangent(lua_State *lua)
{
    lua_pushnumber(lua, tanh(luaL_checknumber(lua, 1)));
    return 1;
}

/* Loads the basic functions and math, without everything that reaches files or modules, evades the
 * limit on instructions (catching errors, finalizers, and loops in C, hence no table and string
 * libraries), makes results differ between runs, or looks past the metamethods of observations. */
static int open_libraries(lua_State *lua)
{
    static const char *const banned[] = {
        "dofile", "loadfile", "load",         "require", "print",  "collectgarbage", "pcall",
        "xpcall", "warn",     "setmetatable", "next",    "rawget", "rawset"};
    static const char *const banned_math[] = {"random", "randomseed"};
    /* The libraries are opened, and what is banned is set to nil. */
    luaL_requiref(lua, LUA_GNAME, luaopen_base, 1);
    luaL_requiref(lua, LUA_MATHLIBNAME, luaopen_math, 1);
    for (size_t i = 0; i < sizeof banned_math / sizeof banned_math[0]; i++) {
        lua_pushnil(lua);
        lua_setfield(lua, -2, banned_math[i]);
    }
    for (size_t i = 0; i < sizeof banned / sizeof banned[0]; i++) {
        lua_pushnil(lua);
        lua_setglobal(lua, banned[i]);
    }
    /* Rewards are shaped with it; Lua's own has it only where it was built for older versions. */
    lua_pushcfunction(lua, hyperbolic_tangent);
    lua_setfield(lua, -2, "tanh");
    lua_settop(lua, 0);
    return 0;
}

/* ---- opening ---- */

/* For qsort: each element is a name. */
static int compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Lists the tasks: the table on top of the stack must map names to functions. */
static status list_tasks(struct script *script, const char *path, struct err *err)
{
    lua_State *lua = script->lua;
    if (!lua_istable(lua, -1)) {
        return err_set(err, STATUS_INVALID,
                       "%s: the file returns %s, expected a table of functions", path,
                       luaL_typename(lua, -1));
    }
    /* lua_next leaves the key below the value; the value is taken off before the next round. */
    lua_pushnil(lua);
    while (lua_next(lua, -2) != 0) {
        const char *name = lua_type(lua, -2) == LUA_TSTRING ? lua_tostring(lua, -2) : NULL;
        if (name == NULL || !lua_isfunction(lua, -1)) {
            return err_set(err, STATUS_INVALID, "%s: %s: expected a name with a function", path,
                           name != NULL ? name : "a key that is not a name");
        }
        if (script->n == SIGNATURE_TASKS_MAX || strlen(name) >= SIGNATURE_NAME_SIZE) {
            return err_set(err, STATUS_INVALID, "%s: %.80s: more than %d tasks, or a name too long",
                           path, name, SIGNATURE_TASKS_MAX);
        }
        memcpy(script->tasks[script->n++], name, strlen(name) + 1);
        lua_pop(lua, 1);
    }
    if (script->n == 0) {
        return err_set(err, STATUS_INVALID,
                       "%s: the file returns an empty table, expected a table of functions", path);
    }
    /* Lua gives keys in no fixed order, and the order of tasks must not depend on it. */
    qsort(script->tasks, script->n, SIGNATURE_NAME_SIZE, compare_names);
    return STATUS_OK;
}

/* Leaves on the stack: the functions in order of name, then tables for now, action and after. */
static int lay_out(lua_State *lua)
{
    /* Called with the table of functions and the script below each other. */
    struct script *script = lua_touserdata(lua, -1);
    lua_pop(lua, 1);
    /* An array of functions is found by number, without a look-up by name in each step. */
    lua_createtable(lua, (int)script->n, 0);
    for (uint32_t i = 0; i < script->n; i++) {
        lua_getfield(lua, 1, script->tasks[i]);
        lua_rawseti(lua, -2, (int)i + 1);
    }
    observation_table_push(lua, &script->now, script->signature);
    lua_createtable(lua, (int)script->signature->A, 0);
    observation_table_push(lua, &script->after, script->signature);
    return AT_LAST;
}

/* Reads, compiles and runs the file once, and lays out the stack. INVALID has Lua's own message. */
static status load(struct script *script, const char *path, struct err *err)
{
    void *text;
    size_t size;
    lua_State *lua = script->lua;
    status s = file_read(path, FILE_BYTES_MAX, &text, &size, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* 0 would mean that there is no script, so that value is avoided. */
    script->digest = XXH64(text, size, 0);
    script->digest += script->digest == 0;
    lua_pushcfunction(lua, open_libraries);
    bool good = lua_pcall(lua, 0, 0, 0) == LUA_OK;
    /* "t": text only, since crafted byte code can corrupt the interpreter. */
    char name[CHUNK_NAME_SIZE];
    snprintf(name, sizeof name, "@%s", path);
    good = good && luaL_loadbufferx(lua, text, size, name, "t") == LUA_OK && call(lua, 0, 1);
    mem_free(text);
    if (!good) {
        return err_set(err, STATUS_INVALID, "%s", error_text(lua));
    }
    s = list_tasks(script, path, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* Laying out allocates, so it runs below lua_pcall. */
    lua_pushcfunction(lua, lay_out);
    lua_insert(lua, -2);
    lua_pushlightuserdata(lua, script);
    if (lua_pcall(lua, 2, AT_LAST, 0) != LUA_OK) {
        return err_set(err, STATUS_NO_MEMORY, "%s: %s", path, error_text(lua));
    }
    ASSERT(lua_gettop(lua) == AT_LAST);
    return STATUS_OK;
}

status script_open(struct script **script, const char *path, const struct signature *signature,
                   struct err *err)
{
    struct script *made = mem_new(sizeof *made);
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s", path);
    }
    made->signature = signature;
    /* The allocator is given the script, since it counts for it. */
    made->lua = lua_newstate(allocate, made);
    if (made->lua != NULL) {
        *(struct script **)lua_getextraspace(made->lua) = made;
    }
    status s =
        made->lua == NULL ? err_set(err, STATUS_NO_MEMORY, "%s", path) : load(made, path, err);
    if (s != STATUS_OK) {
        script_close(made);
        return s;
    }
    *script = made;
    return STATUS_OK;
}

void script_close(struct script *script)
{
    if (script == NULL) {
        return;
    }
    if (script->lua != NULL) {
        lua_close(script->lua);
    }
    mem_free(script);
}

/* ---- running ---- */

/* Shows a step, from its row and the one behind it: there are both observations, the one before the
 * action and the one after it. */
static void show_step(lua_State *lua, const float *row, uint32_t W)
{
    struct script *script = script_of(lua);
    observation_table_show(lua, AT_NOW, &script->now, row);
    observation_table_show(lua, AT_AFTER, &script->after, row + W);
    const float *action = row + signature_action_at(script->signature);
    for (uint32_t i = 0; i < script->signature->A; i++) {
        lua_pushnumber(lua, (lua_Number)action[i]);
        lua_rawseti(lua, AT_ACTION, (lua_Integer)i + 1);
    }
}

/* Calls function i with all three tables, as the functions before it left them. */
static float call_function(lua_State *lua, uint32_t i)
{
    begin_call(script_of(lua));
    lua_rawgeti(lua, AT_FUNCTIONS, (int)i + 1);
    for (int at = AT_NOW; at <= AT_AFTER; at++) {
        lua_pushvalue(lua, at);
    }
    lua_call(lua, 3, 1);
    /* Anything but a finite number would end up in the rows, so it is an error here. */
    const float reward = lua_type(lua, -1) == LUA_TNUMBER ? (float)lua_tonumber(lua, -1) : NAN;
    if (!isfinite(reward)) {
        luaL_error(lua, "returns %s, expected a finite number",
                   lua_type(lua, -1) == LUA_TNUMBER ? "no finite number" : luaL_typename(lua, -1));
    }
    lua_pop(lua, 1);
    return reward;
}

/* An episode on its way, and where it stands: an error leaves it there. */
struct episode_run {
    const struct episode *episode;
    float *rewards;
    size_t t;
    uint32_t i; /* the function that is called; script_n: none */
};

/* A lua_CFunction. Arguments: the tables that lay_out has left, at the same positions, and a light
 * userdata with the episode_run. One protected call for all steps, since entering it takes as long
 * as a short function. */
static int run_steps(lua_State *lua)
{
    struct episode_run *run = lua_touserdata(lua, -1);
    const struct script *script = script_of(lua);
    const struct episode *episode = run->episode;
    for (run->t = 0; run->t < episode->T && !is_stopped(script); run->t++) {
        run->i = script->n;
        show_step(lua, episode->rows + run->t * episode->W, episode->W);
        for (run->i = 0; run->i < script->n; run->i++) {
            run->rewards[run->t * script->n + run->i] = call_function(lua, run->i);
        }
    }
    return 0;
}

status script_run(struct script *script, const struct episode *episode, float *rewards,
                  struct err *err)
{
    ASSERT(episode->W == signature_width(script->signature));
    lua_State *lua = script->lua;
    struct episode_run run = {.episode = episode, .rewards = rewards};
    lua_pushcfunction(lua, run_steps);
    for (int at = AT_FUNCTIONS; at <= AT_LAST; at++) {
        lua_pushvalue(lua, at);
    }
    lua_pushlightuserdata(lua, &run);
    status s = STATUS_OK;
    if (!call(lua, AT_LAST + 1, 0)) {
        s = run.i < script->n
                ? err_set(err, STATUS_INVALID, "relabel: row %zu, %s: %s", run.t,
                          script->tasks[run.i], error_text(lua))
                : err_set(err, STATUS_INVALID, "relabel: row %zu: %s", run.t, error_text(lua));
    } else if (run.t < episode->T) {
        s = err_set(err, STATUS_CLOSED, "relabel: stopped");
    }
    lua_settop(lua, AT_LAST); /* without the text of an error */
    return s;
}
