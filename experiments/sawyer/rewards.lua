-- The nine rewards of the Sawyer domain, computed from logged observations: bit for bit what the environment gives.
-- For logs of tasks that were not thought of when they were made, change or add functions:
--
--     hindcast dataset relabel --script=rewards.lua --to=relabelled LOGS        new shards
--     restorer.relabel: rewards.lua                                            on the way into the replay server
--
-- `after` is the observation after the step; positions are in m, z is 0 on the basket's floor.

local EDGE = 0.05 -- of a block
local NEAR_SCALE = 2.178272210300875 -- atanh(sqrt(0.95)): near() is 0.05 at its margin

-- 1 within `tolerance` of d = 0, falling to 0.05 at `margin`.
local function near(x, y, z, tolerance, margin)
    local distance = math.sqrt(x * x + y * y + z * z)
    if distance <= tolerance then
        return 1
    end
    local t = math.tanh(NEAR_SCALE * distance / margin)
    return 1 - t * t
end

-- Green from its place on yellow.
local function above(after)
    local green, yellow = after.green_pos, after.yellow_pos
    return green[1] - yellow[1], green[2] - yellow[2], green[3] - (yellow[3] + EDGE)
end

local function stacked(after)
    local x, y, z = above(after)
    return math.sqrt(x * x + y * y) <= 0.03 and math.abs(z) <= 0.01 and after.grasp == 0
end

local function brought(after, x, y)
    return near(after.green_pos[1] - x, after.green_pos[2] - y, 0, 0.02, 0.20)
end

return {
    reach = function(_, _, after)
        local tool, green = after.tool_pos, after.green_pos
        return near(tool[1] - green[1], tool[2] - green[2], tool[3] - green[3], 0.02, 0.15)
    end,
    grasp = function(_, _, after)
        return after.grasp
    end,
    lift = function(_, _, after)
        local height = after.green_pos[3] - EDGE / 2
        return math.min(1, math.max(0, (height - 0.005) / (0.05 - 0.005)))
    end,
    place_wide = function(_, _, after)
        local x, y, z = above(after)
        return near(x, y, z, 0.01, 0.20)
    end,
    place_narrow = function(_, _, after)
        local x, y, z = above(after)
        return near(x, y, z, 0, 0.01)
    end,
    stack = function(_, _, after)
        return stacked(after) and 1 or 0
    end,
    stack_leave = function(_, _, after)
        return stacked(after) and near(after.tool_pos[3] - after.green_pos[3] - 0.10, 0, 0, 0.03, 0.10) or 0
    end,
    bring_to_center = function(_, _, after)
        return brought(after, 0.60, 0)
    end,
    bring_to_corner = function(_, _, after)
        return brought(after, 0.52, -0.08)
    end,
}
