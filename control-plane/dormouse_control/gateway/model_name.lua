-- Finds the model that a call asks for, and tells the authorizer.
-- Headers that only we may set are removed natively, before this and after the check (`calls.py`).
-- One file for both places: Envoy on one machine and, through an EnvoyFilter, Istio.
-- The body is looked at here, inside the gateway, and goes nowhere else.
--
-- Out: x-dormouse-model (a plain name), or x-dormouse-model-error (why there is none); x-dormouse-bytes,
-- how long the body is, where that is known; and x-dormouse-priority, where the body says it and no
-- header does. A call that nobody waits for goes to the control plane with its whole body. On one
-- machine `dormouse_admit` of admission.lua may let the call through at once, and `dormouse_body` of
-- bodies.lua bounds what is held in memory.

local MAX_NAME = 128
local MAX_STEPS = 500000 -- a worker must not be held by one hostile body
local EDGE = 8192 -- of a long body, look first at so much of its beginning and of its end

-- Some encoders escape what need not be: "a\/b", "a\u002db".
local function unescaped(text)
  return (text:gsub("\\u00(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end)
    :gsub('\\([/"\\])', "%1"))
end

local function plain_name(text)
  return #text <= MAX_NAME and text:match("^[%w][%w%._:/-]*$") ~= nil
end

-- The end of the JSON string whose opening quote stands at `at`; nil if it never ends.
local function string_end(body, at)
  local from = at + 1
  for _ = 1, MAX_STEPS do
    local found = body:find('["\\]', from)
    if not found then return nil end
    if body:byte(found) == 34 then return found end
    from = found + 2
  end
end

-- Walks the top level of an object only; nested values are skipped by counting brackets.
-- Begins at `at` with `depth` brackets open. Returns where the values of every top-level key `name`
-- begin, or of the first, and where the object ends; nil if it does not.
local function values_of(body, name, at, depth, only_first)
  local found, steps = {}, 0
  local expect_key = false
  while true do
    at = body:find('["{}%[%],]', at)
    steps = steps + 1
    if not at or steps > MAX_STEPS then return steps > MAX_STEPS and {} or found, nil end
    local c = body:byte(at)
    if c == 34 then
      local stop = string_end(body, at)
      if not stop then return found, nil end
      if depth == 1 and expect_key then
        expect_key = false
        local value = unescaped(body:sub(at + 1, stop - 1)) == name
          and body:match("^%s*:%s*()", stop + 1)
        if value then found[#found + 1] = value end
        if value and only_first then return found, nil end
      end
      at = stop
    elseif c == 123 or c == 91 then
      depth = depth + 1
      if depth == 1 then
        if c == 91 then return found, nil end
        expect_key = true
      end
    elseif c == 125 or c == 93 then
      depth = depth - 1
      if depth < 0 then return found, nil end
      if depth == 0 then return found, at end
    elseif c == 44 and depth == 1 then
      expect_key = true
    end
    at = at + 1
  end
end

-- Where the value of the last `"name"` in the end of a body begins, if after that value the top
-- level of the object ends with the body. In valid JSON an unescaped "name" before a colon is a
-- key, and a key that is nested has brackets after it that close before the end.
local function value_at_the_end(tail, name)
  -- Nearly no body ends so, and patterns are slow: 25 us for 8 KB.
  if not tail:find('"' .. name .. '"', 1, true) then return nil end
  local key, value, from = nil, nil, 1
  while true do
    local first, last = tail:find('"' .. name .. '"%s*:%s*', from)
    if not first then break end
    key, value, from = first, last + 1, last
  end
  local escapes = key and #tail:sub(1, key - 1):match("\\*$")
  if not key or escapes % 2 == 1 then return nil end
  local stop = tail:byte(value) == 34 and string_end(tail, value) or value
  local more, ends = values_of(tail, name, stop + 1, 1)
  if #more == 0 and ends and not tail:find("%S", ends + 1) then return value end
end

-- The text that begins at `at`, if it is a whole JSON string.
local function text_at(body, at)
  local stop = at and body:byte(at) == 34 and string_end(body, at)
  return stop and unescaped(body:sub(at + 1, stop - 1)) or nil
end

-- Returns name, or nil and the reason.
local function named(text)
  if text and plain_name(text) then return text end
  return nil, "bad_name"
end

-- Returns name, or nil and the reason.
local function model_of_json(body)
  local key = body:find('"model"', 1, true)
  local value = key and body:match('^%s*:%s*()"', key + 7)
  if value and not body:find('"model"', value, true) then
    -- One key in the whole body: if it is nested, the predictor finds no model and refuses.
    local text = text_at(body, value)
    if not text then return nil, "invalid_json" end
    return named(text)
  end
  local values, ends = values_of(body, "model", 1, 0)
  if #values == 0 and ends then values = values_of(body, "engine", 1, 0) end -- its older name
  if #values > 1 then return nil, "duplicate" end
  local text = text_at(body, values[1])
  if text then return named(text) end
  return nil, ends and "missing" or "invalid_json"
end

-- "0", "1" or "2"; nil for all else, which the predictor refuses.
local function priority_at(text, at)
  return at and text:match("^([012])%f[^%w.+-]", at)
end

-- Of a body, or of the beginning of one. Nearly none has the word.
local function priority_of(text)
  if not text:find('"priority"', 1, true) then return nil end
  local values = values_of(text, "priority", 1, 0)
  return priority_at(text, values[#values])
end

-- Copying and searching megabytes takes longer than all else here, and clients write what is short
-- first or last. Should this be mistaken about the model, the predictor refuses: it reads the whole
-- body. A priority that stands in the middle is not seen.
local function look_into_long(body, length, priority)
  local head, tail = body:getBytes(0, EDGE), body:getBytes(length - EDGE, EDGE)
  if not priority then
    priority = priority_of(head) or priority_at(tail, value_at_the_end(tail, "priority"))
  end
  local text = text_at(head, values_of(head, "model", 1, 0, true)[1])
    or text_at(tail, value_at_the_end(tail, "model"))
  if text and plain_name(text) then return text, nil, priority end
  local name, reason = model_of_json(body:getBytes(0, length))
  return name, reason, priority
end

-- Returns name, or nil and the reason; and the priority, where the header `priority` says none.
local function look_into(body, priority)
  local length = body:length()
  if length > 4 * EDGE then return look_into_long(body, length, priority) end
  local text = body:getBytes(0, length)
  local name, reason = model_of_json(text)
  return name, reason, priority or priority_of(text)
end

local function refuse(handle, status, kind, code, message)
  handle:respond(
    { [":status"] = status, ["content-type"] = "application/json",
      ["retry-after"] = status == "503" and "1" or nil },
    '{"error":{"message":"' .. message .. '","type":"' .. kind .. '","param":null,"code":"' .. code
      .. '"}}'
  )
end

local function encoded(headers)
  local found = headers:get("content-encoding")
  return found and found:lower() ~= "identity"
end

-- How long the body is by the client's word, which Envoy holds it to; nil without one.
local function told(headers)
  local length = headers:get("content-length")
  return length and tonumber(length)
end

local function read_body(handle, length)
  if dormouse_body then return dormouse_body(handle, length) end
  return handle:body()
end

-- The priority of a short body whose model is known from elsewhere: nobody waits for a long one.
local function priority_of_short(handle, headers, length)
  if not length or length == 0 or length > 4 * EDGE or not headers:get("authorization") then
    return nil
  end
  local body = handle:body()
  return body and priority_of(body:getBytes(0, body:length()))
end

-- Returns name, or nil and the reason; the priority, if any is asked for; and how long the body is,
-- if it was read.
local function find(handle, headers, priority, length)
  local path = headers:get(":path") or "" -- CONNECT has none
  local elsewhere = path:match("^/m/([^/?]+)/") or headers:get("x-dormouse-model")
  if elsewhere then
    local name, reason = named(elsewhere)
    return name, reason, priority or name and priority_of_short(handle, headers, length)
  end
  -- Whoever shows no credential is refused whatever the body says: spare the look into it.
  if not headers:get("authorization") then return nil, "missing", priority end
  local body = read_body(handle, length)
  if body == false then return nil, "overloaded" end
  if not body or body:length() == 0 then return nil, "missing", priority end
  local name, reason
  name, reason, priority = look_into(body, priority)
  return name, reason, priority, body:length()
end

-- A call that nobody waits for, with a credential: whoever takes it must not wait for its body.
local function whole_body(handle, length)
  if not handle:headers():get("authorization") then return nil end
  return read_body(handle, length)
end

function envoy_on_request(handle)
  local headers = handle:headers()
  if encoded(headers) then
    return refuse(handle, "415", "invalid_request_error", "unsupported_encoding",
      "Compressed request bodies are not accepted. Send the body without content-encoding.")
  end
  local asked = headers:get("x-dormouse-priority")
  local length = told(headers)
  local asynchronous = headers:get("prefer") and handle:metadata():get("asynchronous")
  local name, reason, priority, read = find(handle, headers, asked, length)
  if asynchronous and not read and whole_body(handle, length) == false then reason = "overloaded" end
  if reason == "overloaded" then
    return refuse(handle, "503", "server_error", "overloaded",
      "Too many long requests arrive at once. Try again shortly.")
  end
  -- Waiting for the body has replaced the header object: the old one is dead.
  headers = handle:headers()
  if priority ~= asked then headers:replace("x-dormouse-priority", priority) end
  length = length or read
  local may_pass = name and not asynchronous and dormouse_admit
  if may_pass and dormouse_admit(handle, headers, name, length or math.huge) then return end
  if length then headers:replace("x-dormouse-bytes", string.format("%d", length)) end
  if name then return headers:replace("x-dormouse-model", name) end
  headers:remove("x-dormouse-model")
  headers:replace("x-dormouse-model-error", reason)
end
