/* Running foreign Lua code safely.
 *
 * Everything that may raise a Lua error, including out of memory, runs below lua_pcall. Libraries
 * that reach files or modules, or that make results differ between runs, are not loaded. Memory is
 * limited by the allocator; instructions and time by a hook (see script.h).
 *
 * A Lua error is a longjmp: functions that run below lua_pcall hold no memory or lock of ours.
 * Between two steps the stack has exactly the values of the enum below. */
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

/* Larger files are refused. */
#define FILE_BYTES_MAX (1u << 20)
/* Room for the path, by which Lua's messages name the file. */
#define CHUNK_NAME_SIZE 4096
#define HOOK_STEPS      10000 /* instructions between two checks of the limits */

/* Positions on the Lua stack while episodes are run. */
enum { AT_FUNCTIONS = 1, AT_NOW, AT_ACTION, AT_AFTER, AT_LAST = AT_AFTER };

/* One interpreter, with its limits and the tasks of its file. */
struct script {
    lua_State *lua;
    size_t used; /* bytes allocated by Lua */
    /* Asked by the hook; NULL: nobody stops it. Borrowed. */
    const atomic_bool *stop;
    /* Of the call that is running: */
    uint64_t steps;
    uint64_t started_ns;
    uint64_t digest;
    const struct signature *signature;
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
    if (script->steps >= SCRIPT_STEPS_MAX) {
        luaL_error(lua, "more than %d instructions in one call", SCRIPT_STEPS_MAX);
    }
    if (is_stopped(script)) {
        luaL_error(lua, "stopped");
    }
    if (clock_now_ns() - script->started_ns > SCRIPT_SECONDS_MAX * NS_PER_S) {
        luaL_error(lua, "more than %d seconds in one call", SCRIPT_SECONDS_MAX);
    }
}

/* pcall within the limits; the error text stays on the stack. */
static bool call(lua_State *lua, int n_arguments, int n_results)
{
    /* Each call has the whole of its limits to itself. */
    struct script *script = script_of(lua);
    script->steps = 0;
    script->started_ns = clock_now_ns();
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
 * libraries), or makes results differ between runs. */
static int open_libraries(lua_State *lua)
{
    static const char *const banned[] = {"dofile", "loadfile",       "load",  "require",
                                         "print",  "collectgarbage", "pcall", "xpcall",
                                         "warn",   "setmetatable"};
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

/* Leaves on the stack: the functions in order of name, then tables for now, action and after. They
 * are allocated once and refilled for each step. */
static int lay_out(lua_State *lua)
{
    /* Called with the table of functions and the script below each other. */
    const struct script *script = lua_touserdata(lua, -1);
    const struct signature *signature = script->signature;
    lua_pop(lua, 1);
    /* An array of functions is found by number, without a look-up by name in each step. */
    lua_createtable(lua, (int)script->n, 0);
    for (uint32_t i = 0; i < script->n; i++) {
        lua_getfield(lua, 1, script->tasks[i]);
        lua_rawseti(lua, -2, (int)i + 1);
    }
    /* Slices of one number need no table: the number is the field itself. */
    for (int at = AT_NOW; at <= AT_LAST; at++) {
        lua_createtable(lua, at == AT_ACTION ? (int)signature->A : 0, 0);
        for (uint32_t s = 0; at != AT_ACTION && s < signature->n_slices; s++) {
            if (signature->slices[s].size > 1) {
                lua_createtable(lua, (int)signature->slices[s].size, 0);
                lua_setfield(lua, -2, signature->slices[s].name);
            }
        }
    }
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

/* Fills the array on top of the stack, whose elements count from 1. */
static void fill_array(lua_State *lua, const float *values, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        lua_pushnumber(lua, (lua_Number)values[i]);
        lua_rawseti(lua, -2, (int)i + 1);
    }
}

/* Fills the observation table at stack index `at` from one row. */
static void fill_observation(lua_State *lua, int at, const struct signature *signature,
                             const float *row)
{
    for (uint32_t s = 0; s < signature->n_slices; s++) {
        const struct signature_slice *slice = &signature->slices[s];
        if (slice->size == 1) {
            lua_pushnumber(lua, (lua_Number)row[0]);
            lua_setfield(lua, at, slice->name);
        } else {
            /* A script may have replaced the array that lay_out put there. */
            lua_getfield(lua, at, slice->name);
            if (!lua_istable(lua, -1)) {
                luaL_error(lua, "a reward function changed %s", slice->name);
            }
            fill_array(lua, row, slice->size);
            lua_pop(lua, 1);
        }
        row += slice->size;
    }
}

/* What fill_tables needs to know of one step. */
struct step {
    const struct signature *signature;
    const float *row;
    uint32_t W;
};

/* A lua_CFunction. Arguments: now, action, after, and a light userdata with the step. */
static int fill_tables(lua_State *lua)
{
    /* Both observations are in the rows: the one before the action, and the one after it. */
    const struct step *step = lua_touserdata(lua, 4);
    fill_observation(lua, 1, step->signature, step->row);
    fill_observation(lua, 3, step->signature, step->row + step->W);
    /* The action's table is on top now. */
    lua_settop(lua, 2);
    fill_array(lua, step->row + signature_action_at(step->signature), step->signature->A);
    return 0;
}

/* rewards(n) of step t: fills the tables, then calls each function with all three. */
static status run_step(struct script *script, struct step *step, size_t t, float *rewards,
                       struct err *err)
{
    lua_State *lua = script->lua;
    /* Filled below lua_pcall: a script may have left anything in its tables. */
    lua_pushcfunction(lua, fill_tables);
    for (int at = AT_NOW; at <= AT_LAST; at++) {
        lua_pushvalue(lua, at);
    }
    lua_pushlightuserdata(lua, step);
    if (lua_pcall(lua, 4, 0, 0) != LUA_OK) {
        return err_set(err, STATUS_INVALID, "relabel: row %zu: %s", t, error_text(lua));
    }
    /* Each function gets the same three tables, as the functions before it left them. */
    for (uint32_t i = 0; i < script->n; i++) {
        lua_rawgeti(lua, AT_FUNCTIONS, (int)i + 1);
        for (int at = AT_NOW; at <= AT_LAST; at++) {
            lua_pushvalue(lua, at);
        }
        if (!call(lua, 3, 1)) {
            return err_set(err, STATUS_INVALID, "relabel: row %zu, %s: %s", t, script->tasks[i],
                           error_text(lua));
        }
        /* Anything but a finite number would end up in the rows, so it is an error here. */
        rewards[i] = lua_type(lua, -1) == LUA_TNUMBER ? (float)lua_tonumber(lua, -1) : NAN;
        if (!isfinite(rewards[i])) {
            return err_set(
                err, STATUS_INVALID, "relabel: row %zu, %s: returns %s, expected a finite number",
                t, script->tasks[i],
                lua_type(lua, -1) == LUA_TNUMBER ? "no finite number" : luaL_typename(lua, -1));
        }
        lua_settop(lua, AT_LAST);
    }
    return STATUS_OK;
}

status script_run(struct script *script, const struct episode *episode, float *rewards,
                  struct err *err)
{
    ASSERT(episode->W == signature_width(script->signature));
    status s = STATUS_OK;
    for (size_t t = 0; t < episode->T && s == STATUS_OK; t++) {
        if (is_stopped(script)) {
            s = err_set(err, STATUS_CLOSED, "relabel: stopped");
            break;
        }
        /* Row t and the one behind it. */
        struct step step = {
            .signature = script->signature, .row = episode->rows + t * episode->W, .W = episode->W};
        s = run_step(script, &step, t, rewards + t * script->n, err);
    }
    /* An error may have left its text or arguments on the stack. */
    lua_settop(script->lua, AT_LAST);
    return s;
}
