-- One decision, whole or not at all. The same windows as in gateway/quota/windows.py, which explains them.
--
-- KEYS: what is counted, by the rules' names. ARGV: what to do; its numbers; reservations.
--   admit   lease, then for each key: unit, buckets, limit, amount; one reservation
--           -> now, number of the key that refuses (0: none), seconds until it lifts (-1: not by itself),
--              then for each key: its level, seconds until it is empty (0 where there is no unit)
--   settle  since, then for each key: unit, buckets, limit, reserved, used; one reservation
--   renew   lease; reservations that are still under way, of one key
--   levels  for each key: unit, buckets -> for each key: its level
-- A unit of 0: requests under way, each counted until its lease is over. All times are in seconds.
--
-- A window is a string of numbers of 8 bytes, exact up to 2^53: newest bucket, total, debt, then the ring. Of it only
-- what is needed is read and written; that of a day has 11 kB.

local MOST = 1e15
local HEAD, CELL = 24, 8
local now = tonumber(SERVER_CLOCK)
local numbers = {struct.unpack('<' .. string.rep('d', #ARGV[2] / 8), ARGV[2])}

local function read(window, slot, count)
    local from = HEAD + CELL * slot
    return redis.call('GETRANGE', window.key, from, from + CELL * count - 1)
end

local function write(window, slot, cells)
    redis.call('SETRANGE', window.key, HEAD + CELL * slot, cells)
end

local function cell(window, slot)
    return (struct.unpack('<d', read(window, slot, 1)))
end

local function clear(window)
    window.total, window.debt = 0, 0
    redis.call('SET', window.key, string.rep('\0', HEAD + CELL * window.size))
end

local function slide(window, at)
    local size = window.size
    local left = at - window.last
    window.last = at
    if window.total == 0 then return end
    local turns = math.min(math.floor(left / size), math.floor(window.debt / window.total))
    window.debt = window.debt - turns * window.total
    left = left - turns * size
    if left >= (window.debt > 0 and 2 or 1) * size then return clear(window) end
    while left > 0 do
        local slot = (at - left + 1) % size
        local count = math.min(left, size - slot)
        local cells = read(window, slot, count)
        local after = {}
        for number = 1, count do
            local leaving = struct.unpack('<d', cells, CELL * (number - 1) + 1)
            local stays = math.min(leaving, window.debt)
            window.debt = window.debt - stays
            window.total = window.total - (leaving - stays)
            after[number] = struct.pack('<d', stays)
        end
        after = table.concat(after)
        if after ~= cells then write(window, slot, after) end
        left = left - count
    end
end

local function open(key, unit, size)
    local window = {key = key, unit = unit, size = size}
    if unit == 0 then
        redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
        window.total, window.debt = redis.call('ZCARD', key), 0
        return window
    end
    local at = math.floor(now / unit)
    local head = redis.call('GETRANGE', key, 0, HEAD - 1)
    if #head == HEAD then
        window.last, window.total, window.debt = struct.unpack('<ddd', head)
        -- A clock that went back a little stands still; by more than a window, the window begins anew.
        if at > window.last then slide(window, at)
        elseif at < window.last - size then window.last = at; clear(window) end
    else
        window.last = at
        clear(window)
    end
    return window
end

local function close(window)
    if window.unit == 0 then return end
    redis.call('SETRANGE', window.key, 0, struct.pack('<ddd', window.last, window.total, window.debt))
    local turns = window.total > 0 and math.ceil(window.debt / window.total) + 1 or 1
    redis.call('EXPIRE', window.key, math.min(turns * window.size * window.unit + window.unit, 1e9))
end

local function add(window, amount)
    local room = window.limit - window.total - window.debt
    if amount > room then
        local over = amount - math.max(room, 0)
        window.debt = math.min(window.debt + over, MOST)
        amount = amount - over
    end
    if amount == 0 then return end
    local slot = window.last % window.size
    write(window, slot, struct.pack('<d', cell(window, slot) + amount))
    window.total = window.total + amount
end

local function settle(window, reserved, used, since)
    if used > reserved then add(window, used - reserved) end
    if used >= reserved then return end
    local bucket = math.floor(since / window.unit)
    local left = math.max(math.floor((window.last - bucket) / window.size), 0) * window.limit
    local back = math.max(reserved - left, 0) - math.max(used - left, 0)
    local paid = math.min(back, window.debt)
    window.debt = window.debt - paid
    local slot = bucket % window.size
    local held = cell(window, slot)
    back = math.min(back - paid, held)
    if back > 0 then write(window, slot, struct.pack('<d', held - back)) end
    window.total = window.total - back
end

local function falls_in(window, target)
    local total, debt, size = window.total, window.debt, window.size
    local excess = total + debt - target
    if excess <= 0 then return 0 end
    local turns = math.min(math.floor(debt / total), math.floor((excess - 1) / total))
    debt = debt - turns * total
    excess = excess - turns * total
    local cells = read(window, 0, size)
    local ring = {}
    local bucket = window.last + turns * size
    while true do
        bucket = bucket + 1
        local slot = bucket % size
        local leaving = ring[slot] or struct.unpack('<d', cells, CELL * slot + 1)
        excess = excess - leaving
        if excess <= 0 then return bucket * window.unit - now end
        ring[slot] = math.min(leaving, debt)
        debt = debt - ring[slot]
    end
end

local function empties_in(window)
    if window.debt == 0 and cell(window, window.last % window.size) > 0 then
        return (window.last + window.size) * window.unit - now
    end
    return falls_in(window, 0)
end

-- Each key's window, with the numbers that are given for it.
local function windows(count)
    local found = {}
    for number, key in ipairs(KEYS) do
        local at = 2 + count * (number - 1)
        local window = open(key, numbers[at], numbers[at + 1])
        window.limit, window.amount, window.used = numbers[at + 2], numbers[at + 3], numbers[at + 4]
        found[number] = window
    end
    return found
end

local act = {}

function act.admit()
    local lease, reservation = numbers[1], ARGV[3]
    local refused_by, longest = 0, 0
    local opened = windows(4)
    for number, window in ipairs(opened) do
        local amount = math.max(window.amount, 1)
        local level = window.total + window.debt
        if level > 0 and level + amount > window.limit and longest >= 0 then
            local wait = window.unit == 0 and -1 or falls_in(window, math.max(window.limit - amount, 0))
            if wait < 0 or wait > longest then refused_by, longest = number, wait end
        end
    end
    local answer = {now, refused_by, longest}
    for _, window in ipairs(opened) do
        if refused_by == 0 and window.unit == 0 then
            redis.call('ZADD', window.key, now + lease, reservation)
            redis.call('EXPIRE', window.key, lease)
        elseif refused_by == 0 then
            add(window, window.amount)
        end
        close(window)
        table.insert(answer, window.unit > 0 and window.total + window.debt or 0)
        table.insert(answer, window.unit > 0 and empties_in(window) or 0)
    end
    return answer
end

function act.settle()
    for _, window in ipairs(windows(5)) do
        if window.unit == 0 then
            redis.call('ZREM', window.key, ARGV[3])
        else
            settle(window, window.amount, window.used, numbers[1])
        end
        close(window)
    end
end

function act.renew()
    for number = 3, #ARGV do
        redis.call('ZADD', KEYS[1], now + numbers[1], ARGV[number])
    end
    redis.call('EXPIRE', KEYS[1], numbers[1])
end

function act.levels()
    local levels = {}
    for number, key in ipairs(KEYS) do
        levels[number] = 0
        if redis.call('EXISTS', key) == 1 then
            local window = open(key, numbers[2 * number - 1], numbers[2 * number])
            levels[number] = window.total + window.debt
            close(window)
        end
    end
    return levels
end

return act[ARGV[1]]()
