-- Bounds what strangers can make the gateway hold: a body is read before its caller is known.
--
-- Only of long bodies, and of those that do not say how long they are. Each worker counts its own.

local LONG = 262144 -- bytes; shorter ones are bounded by the number of connections
local LONGEST = @MAX_BODY@ -- Envoy cuts off what is longer
local MOST = @HELD@

-- Stream -> bytes. Streams that ended before their body had come are garbage, and fall out.
local arriving = setmetatable({}, { __mode = "k" })
local tidied = 0 -- seconds since 1970

local function sum()
  local found = 0
  for _, bytes in pairs(arriving) do found = found + bytes end
  return found
end

local function tidy(handle)
  local now = handle:timestamp() / 1000
  if now - tidied < 1 then return end
  tidied = now
  collectgarbage()
  collectgarbage() -- streams have finalizers: keys go in the second round
end

-- Reads the body; nil if there is none, false if too much is on its way already.
function dormouse_body(handle, length)
  length = math.min(length or LONGEST, LONGEST)
  if length <= LONG then return handle:body() end
  if sum() + length > MOST then
    tidy(handle)
    if sum() + length > MOST then return false end
  end
  arriving[handle] = length
  local body = handle:body()
  arriving[handle] = nil
  return body
end
