-- Finds the model that a call asks for, and takes away what clients may not tell the authorizer.
-- All other headers that only we may set are removed natively, after the check (`calls.py`).
-- One file for both places: Envoy on one machine and, through an EnvoyFilter, Istio.
-- The body is looked at here, inside the gateway, and goes nowhere else.
--
-- Out: x-dormouse-model (a plain name), or x-dormouse-model-error (why there is none). On one machine
-- `dormouse_admit` of admission.lua may let the call through at once.

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
-- Begins at `at` with `depth` brackets open. Returns the raw text of every top-level "model" value
-- that is a string, or of the first, and where the object ends; nil if it does not.
local function top_level_models(body, at, depth, only_first)
  local found, steps = {}, 0
  local expect_key, key = false, nil
  while true do
    at = body:find('["{}%[%],]', at)
    steps = steps + 1
    if not at or steps > MAX_STEPS then return steps > MAX_STEPS and {} or found, nil end
    local c = body:byte(at)
    if c == 34 then
      local stop = string_end(body, at)
      if not stop then return found, nil end
      if depth == 1 then
        local text = body:sub(at + 1, stop - 1)
        if expect_key then
          key, expect_key = text, false
        elseif key == "model" then
          found[#found + 1] = text
          if only_first then return found, nil end
          key = nil
        end
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
      expect_key, key = true, nil
    end
    at = at + 1
  end
end

-- The last "model" in the end of a body, if after its value the top level of the object ends with
-- the body. In valid JSON an unescaped "model" before a colon is a key, and a key that is nested
-- has brackets after it that close before the end.
local function model_at_the_end(tail)
  local key, value, from = nil, nil, 1
  while true do
    local first, last = tail:find('"model"%s*:%s*"', from)
    if not first then break end
    key, value, from = first, last, last
  end
  local escapes = key and #tail:sub(1, key - 1):match("\\*$")
  local stop = value and escapes % 2 == 0 and string_end(tail, value)
  if not stop then return nil end
  local more, ends = top_level_models(tail, stop + 1, 1)
  if #more == 0 and ends and not tail:find("%S", ends + 1) then
    return tail:sub(value + 1, stop - 1)
  end
end

-- Returns name, or nil and the reason.
local function model_of_json(body)
  local first, after = body:find('"model"%s*:%s*"', 1)
  if first and not body:find('"model"', after + 1, true) then
    -- One key in the whole body: if it is nested, the predictor finds no model and refuses.
    local stop = string_end(body, after)
    if not stop then return nil, "invalid_json" end
    local text = unescaped(body:sub(after + 1, stop - 1))
    if plain_name(text) then return text end
    return nil, "bad_name"
  end
  local models, ends = top_level_models(body, 1, 0)
  if #models > 1 then return nil, "duplicate" end
  if #models == 1 then
    local text = unescaped(models[1])
    if plain_name(text) then return text end
    return nil, "bad_name"
  end
  return nil, ends and "missing" or "invalid_json"
end

-- Copying and searching megabytes takes longer than all else here, and clients write the name first
-- or last. Should this be mistaken, the predictor refuses: it reads the whole body.
local function model_of_body(body)
  local length = body:length()
  if length > 4 * EDGE then
    local text = top_level_models(body:getBytes(0, EDGE), 1, 0, true)[1]
      or model_at_the_end(body:getBytes(length - EDGE, EDGE))
    text = text and unescaped(text)
    if text and plain_name(text) then return text end
  end
  return model_of_json(body:getBytes(0, length))
end

local function refuse(handle, status, code, message)
  handle:respond(
    { [":status"] = status, ["content-type"] = "application/json" },
    '{"error":{"message":"' .. message .. '","type":"invalid_request_error","param":null,"code":"'
      .. code .. '"}}'
  )
end

local function encoded(headers)
  local found = headers:get("content-encoding")
  return found and found:lower() ~= "identity"
end

local function find(handle, headers)
  local path = headers:get(":path")
  local by_path = path:match("^/m/([^/?]+)/")
  if by_path then
    if plain_name(by_path) then return by_path end
    return nil, "bad_name"
  end
  local by_header = headers:get("x-dormouse-model")
  if by_header then
    if plain_name(by_header) then return by_header end
    return nil, "bad_name"
  end
  -- Whoever shows no credential is refused whatever the body says: spare the look into it.
  if not headers:get("authorization") then return nil, "missing" end
  local body = handle:body()
  if not body or body:length() == 0 then return nil, "missing" end
  return model_of_body(body)
end

function envoy_on_request(handle)
  local headers = handle:headers()
  if encoded(headers) then
    return refuse(handle, "415", "unsupported_encoding",
      "Compressed request bodies are not accepted. Send the body without content-encoding.")
  end
  local name, reason = find(handle, headers)
  -- Waiting for the body has replaced the header object: the old one is dead.
  headers = handle:headers()
  headers:remove("x-dormouse-worker")
  if not name then
    headers:remove("x-dormouse-model")
    headers:replace("x-dormouse-model-error", reason)
  elseif not (dormouse_admit and dormouse_admit(handle, headers, name)) then
    headers:remove("x-dormouse-model-error")
    headers:replace("x-dormouse-model", name)
  end
end
