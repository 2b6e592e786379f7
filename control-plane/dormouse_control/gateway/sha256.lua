-- SHA-256 of FIPS 180-4: Envoy's Lua has none. Returns the 32 bytes of the digest.

local bit = require("bit")
local band, bnot, bxor, ror, rshift = bit.band, bit.bnot, bit.bxor, bit.ror, bit.rshift
local tobit, bswap = bit.tobit, bit.bswap

local function fractions(root)
  local found, candidate = {}, 2
  while #found < 64 do
    local prime = true
    for divisor = 2, math.floor(math.sqrt(candidate)) do
      if candidate % divisor == 0 then prime = false break end
    end
    if prime then
      local power = candidate ^ root
      found[#found + 1] = tobit(math.floor((power - math.floor(power)) * 2 ^ 32))
    end
    candidate = candidate + 1
  end
  return found
end

local K, H = fractions(1 / 3), fractions(1 / 2)

local function padded(text)
  local length = #text
  local bits = bswap(length * 8)
  local low = string.char(band(bits, 255), band(rshift(bits, 8), 255), band(rshift(bits, 16), 255),
    band(rshift(bits, 24), 255))
  return text .. "\128" .. ("\0"):rep((55 - length) % 64) .. "\0\0\0\0" .. low
end

local w = {}

local function compress(state, text, from)
  for i = 0, 15 do
    local a, b, c, d = text:byte(from + i * 4, from + i * 4 + 3)
    w[i] = tobit(((a * 256 + b) * 256 + c) * 256 + d)
  end
  for i = 16, 63 do
    local x, y = w[i - 15], w[i - 2]
    local s0 = bxor(ror(x, 7), ror(x, 18), rshift(x, 3))
    local s1 = bxor(ror(y, 17), ror(y, 19), rshift(y, 10))
    w[i] = tobit(w[i - 16] + s0 + w[i - 7] + s1)
  end
  local a, b, c, d = state[1], state[2], state[3], state[4]
  local e, f, g, h = state[5], state[6], state[7], state[8]
  for i = 0, 63 do
    local s1 = bxor(ror(e, 6), ror(e, 11), ror(e, 25))
    local choice = bxor(band(e, f), band(bnot(e), g))
    local t1 = tobit(h + s1 + choice + K[i + 1] + w[i])
    local s0 = bxor(ror(a, 2), ror(a, 13), ror(a, 22))
    local majority = bxor(band(a, b), band(a, c), band(b, c))
    h, g, f, e = g, f, e, tobit(d + t1)
    d, c, b, a = c, b, a, tobit(t1 + tobit(s0 + majority))
  end
  local new = { a, b, c, d, e, f, g, h }
  for i = 1, 8 do state[i] = tobit(state[i] + new[i]) end
end

local function sha256(text)
  local state = {}
  for i = 1, 8 do state[i] = H[i] end
  local message = padded(text)
  for from = 1, #message, 64 do compress(state, message, from) end
  local bytes = {}
  for i = 1, 8 do
    local word = state[i]
    bytes[i] = string.char(band(rshift(word, 24), 255), band(rshift(word, 16), 255),
      band(rshift(word, 8), 255), band(word, 255))
  end
  return table.concat(bytes)
end
