/* The table itself is empty after each change of the row, so that a read of any slice comes to the
 * metamethod __index; what it returns becomes a field, found by Lua alone from then on. Arrays are
 * allocated once and filled again.
 *
 * All functions of this file run below lua_pcall and hold nothing of ours. */
#include "common/relabel/observation_table.h"

#include <assert.h>
#include <lauxlib.h>

static_assert(SIGNATURE_SLICES_MAX <= 64, "a bit for each slice");

/* Upvalues of the metamethods. */
enum {
    TABLE = 1, /* light userdata: the struct */
    SLICES,    /* name -> index from 0 */
    ARRAYS,    /* index + 1 -> array of a slice of several numbers */
    N_UPVALUES = ARRAYS
};

/* Pushes what slice s of the row is. */
static void push_slice(lua_State *lua, struct observation_table *table, uint32_t s)
{
    const float *values = table->row + table->at[s];
    const uint32_t size = table->signature->slices[s].size;
    table->read |= UINT64_C(1) << s;
    if (size == 1) {
        lua_pushnumber(lua, (lua_Number)values[0]);
        return;
    }
    lua_rawgeti(lua, lua_upvalueindex(ARRAYS), (lua_Integer)s + 1);
    for (uint32_t i = 0; i < size; i++) {
        lua_pushnumber(lua, (lua_Number)values[i]);
        lua_rawseti(lua, -2, (lua_Integer)i + 1);
    }
}

/* __index(observation, name), where the name is no field yet. Nil: no slice has this name. */
static int read_field(lua_State *lua)
{
    struct observation_table *table = lua_touserdata(lua, lua_upvalueindex(TABLE));
    lua_settop(lua, 2);
    lua_pushvalue(lua, 2);
    if (lua_rawget(lua, lua_upvalueindex(SLICES)) == LUA_TNIL) {
        return 1;
    }
    const uint32_t s = (uint32_t)lua_tointeger(lua, -1);
    push_slice(lua, table, s);
    lua_pushvalue(lua, 2);
    lua_pushvalue(lua, -2);
    lua_rawset(lua, 1);
    return 1;
}

/* __newindex(observation, name, value), where the name is no field yet. */
static int refuse_field(lua_State *lua)
{
    return luaL_error(lua, "a reward function changed %s of an observation",
                      luaL_tolstring(lua, 2, NULL));
}

/* next(observation, name) of the fields that there are. */
static int next_field(lua_State *lua)
{
    lua_settop(lua, 2);
    return lua_next(lua, 1) ? 2 : (lua_pushnil(lua), 1);
}

/* __pairs(observation): reads all slices first. */
static int all_fields(lua_State *lua)
{
    struct observation_table *table = lua_touserdata(lua, lua_upvalueindex(TABLE));
    const struct signature *signature = table->signature;
    for (uint32_t s = 0; s < signature->n_slices; s++) {
        if ((table->read >> s & 1) == 0) {
            lua_pushstring(lua, signature->slices[s].name);
            push_slice(lua, table, s);
            lua_rawset(lua, 1);
        }
    }
    lua_pushcfunction(lua, next_field);
    lua_pushvalue(lua, 1);
    lua_pushnil(lua);
    return 3;
}

void observation_table_push(lua_State *lua, struct observation_table *table,
                            const struct signature *signature)
{
    luaL_checkstack(lua, 8 + N_UPVALUES, "an observation");
    lua_createtable(lua, 0, (int)signature->n_slices);
    const int observation = lua_gettop(lua);
    /* The upvalues, above it. */
    lua_pushlightuserdata(lua, table);
    lua_createtable(lua, 0, (int)signature->n_slices);
    lua_createtable(lua, (int)signature->n_slices, 0);
    /* Names in order, for observation_table_show. */
    lua_createtable(lua, (int)signature->n_slices, 0);
    *table = (struct observation_table){.signature = signature};
    uint32_t at = 0;
    for (uint32_t s = 0; s < signature->n_slices; s++) {
        const struct signature_slice *slice = &signature->slices[s];
        table->at[s] = at;
        at += slice->size;
        lua_pushstring(lua, slice->name);
        lua_pushvalue(lua, -1);
        lua_rawseti(lua, observation + N_UPVALUES + 1, (lua_Integer)s + 1);
        lua_pushinteger(lua, (lua_Integer)s);
        lua_rawset(lua, observation + SLICES);
        if (slice->size > 1) {
            lua_createtable(lua, (int)slice->size, 0);
            lua_rawseti(lua, observation + ARRAYS, (lua_Integer)s + 1);
        }
    }
    lua_rawsetp(lua, LUA_REGISTRYINDEX, table);

    static const struct luaL_Reg metamethods[] = {{"__index", read_field},
                                                  {"__newindex", refuse_field},
                                                  {"__pairs", all_fields},
                                                  {NULL, NULL}};
    lua_createtable(lua, 0, 4);
    lua_insert(lua, observation + 1); /* below the upvalues, which luaL_setfuncs takes */
    luaL_setfuncs(lua, metamethods, N_UPVALUES);
    lua_pushboolean(lua, false);
    lua_setfield(lua, -2, "__metatable"); /* what getmetatable returns in its place */
    lua_setmetatable(lua, observation);
}

void observation_table_show(lua_State *lua, int at, struct observation_table *table,
                            const float *row)
{
    table->row = row;
    if (table->read == 0) {
        return;
    }
    lua_rawgetp(lua, LUA_REGISTRYINDEX, table);
    for (uint32_t s = 0; table->read >> s != 0; s++) {
        if ((table->read >> s & 1) != 0) {
            lua_rawgeti(lua, -1, (lua_Integer)s + 1);
            lua_pushnil(lua);
            lua_rawset(lua, at);
        }
    }
    lua_pop(lua, 1);
    table->read = 0;
}
