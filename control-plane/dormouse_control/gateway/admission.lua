-- Lets calls through by decisions that the authorizer made, without asking it again.
--
-- The decisions stand in a file that both have mapped into memory (`slots.py` says what is where).
-- Each holds permits for so many more calls; whoever finds none asks the authorizer, and so does
-- everything else that is not plain. Only one machine has this: in a cluster every call is asked for.

local ffi = require("ffi")

ffi.cdef[[
int open(const char *path, int flags, ...);
void *mmap(void *address, size_t length, int protection, int flags, int fd, long offset);
int prctl(int option, ...);
]]

local MAX_CREDENTIAL = 2048
local MAX_MEMO = 20000

local table_of_slots -- volatile double *, or nil as long as there is no file

local function mapped()
  local fd = ffi.C.open("@PATH@", 2 + 524288) -- O_RDWR | O_CLOEXEC
  if fd < 0 then return nil end
  local found = ffi.C.mmap(nil, @FILE_WORDS@ * 8, 3, 1, fd, 0) -- read and write, shared
  if ffi.cast("intptr_t", found) == -1 then return nil end
  return ffi.cast("volatile double *", found)
end

-- Envoy calls its threads wrk:worker_0, wrk:worker_1 and so on.
local function worker_of_thread()
  local name = ffi.new("char[16]")
  ffi.C.prctl(16, name) -- PR_GET_NAME
  local number = tonumber(ffi.string(name):match("worker_(%d+)$"))
  return number and number < @MAX_WORKERS@ and number or nil
end

local worker -- unknown until a call comes: scripts are read before threads have their names
local memo, memorized = {}, 0

local function slot_of(digest)
  local a, b, c, d = digest:byte(1, 4)
  local first = (a + b * 256 + c * 65536 + d * 16777216) % @SLOTS@
  for probe = 0, @PROBES@ - 1 do
    local at = ((first + probe) % @SLOTS@) * @WORDS@
    if table_of_slots[at] ~= 0
      and ffi.string(ffi.cast("const char *", table_of_slots + at + @DIGEST@), @DIGEST_BYTES@) == digest
    then
      return at
    end
  end
end

-- Reads the decision anew: true if it is whole.
local function read(known)
  local at = slot_of(known.digest)
  if not at then return false end
  local version = table_of_slots[at]
  local text = ffi.cast("const char *", table_of_slots + at + @TEXT@)
  local token, address = table_of_slots[at + @TOKEN_LENGTH@], table_of_slots[at + @ADDRESS_LENGTH@]
  local prefix, middle = table_of_slots[at + @PREFIX_LENGTH@], table_of_slots[at + @MIDDLE_LENGTH@]
  local suffix = table_of_slots[at + @SUFFIX_LENGTH@]
  if version == 0 or token + address + prefix + middle + suffix > @TEXT_BYTES@ then return false end
  known.token, known.address = ffi.string(text, token), ffi.string(text + token, address)
  known.prefix = ffi.string(text + token + address, prefix)
  known.middle = ffi.string(text + token + address + prefix, middle)
  known.suffix = ffi.string(text + token + address + prefix + middle, suffix)
  if slot_of(known.digest) ~= at or table_of_slots[at] ~= version then return false end
  known.at, known.version = at, version
  return true
end

local function remembered(credential, path, priority, model)
  local found = memo[credential]
  found = found and found[path]
  found = found and found[priority]
  return found and found[model]
end

local function below(parent, key)
  local found = parent[key]
  if not found then
    found = {}
    parent[key] = found
  end
  return found
end

-- Only of calls that were decided: others may come with ever new credentials.
local function remember(known, credential, path, priority, model)
  if memorized >= MAX_MEMO then memo, memorized = {}, 0 end
  memorized = memorized + 1
  below(below(below(memo, credential), path), priority)[model] = known
end

-- What is decided about the call; nil if nothing is.
local function decision(credential, path, priority, model)
  local known = remembered(credential, path, priority, model)
  if known then
    return (table_of_slots[known.at] == known.version or read(known)) and known or nil
  end
  local identity = table.concat({ credential, path, priority, model }, "\n")
  known = { digest = sha256(identity):sub(1, @DIGEST_BYTES@) }
  if not read(known) then return nil end
  remember(known, credential, path, priority, model)
  return known
end

-- Whether the call may go on at once; if so, its headers say where to and as whom.
local function admitted(handle, headers, model, length)
  local credential = headers:get("authorization")
  local path = headers:get(":path")
  if not credential or #credential > MAX_CREDENTIAL or #path > 256
    or headers:get(":method") ~= "POST" then
    return false
  end
  local known = decision(credential, path, headers:get("x-dormouse-priority") or "1", model)
  if not known then return false end
  local at = known.at
  local taken, now = table_of_slots[at + @TAKEN@ + worker] + 1, handle:timestamp() / 1000
  local left = table_of_slots[at + @ALLOWED@ + worker] - taken
  if left < 0 or length > table_of_slots[at + @MAX_BYTES@]
    or now >= table_of_slots[at + @UNTIL@] or now >= table_of_slots[@ALIVE_UNTIL@] then
    return false
  end
  left = left + table_of_slots[at + @REST@]
  table_of_slots[at + @TAKEN@ + worker] = taken
  headers:replace("authorization", known.token)
  headers:replace("x-envoy-original-dst-host", known.address)
  local tokens = table_of_slots[at + @TOKENS_REST@]
  headers:replace("x-dormouse-limits", ("%s%d%s%s%s"):format(
    known.prefix, left, known.middle, tokens < 0 and "" or ("%d"):format(tokens), known.suffix))
  handle:streamInfo():dynamicMetadata():set("dormouse", "admitted", true)
  return true
end

-- If not, the authorizer is told which worker asks, so that it can leave permits for it.
-- `length` is the body's in bytes; infinite if nobody knows.
function dormouse_admit(handle, headers, model, length)
  worker = worker or worker_of_thread()
  table_of_slots = table_of_slots or mapped()
  if worker and table_of_slots then
    if admitted(handle, headers, model, length) then return true end
    headers:replace("x-dormouse-worker", tostring(worker))
  end
  return false
end
