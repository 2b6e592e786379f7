-- wrk's call: arguments are body file and model, then header names and values in turn. Where the body
-- has TEXT, that is replaced by 4 to 24 words, others in each call. The last line of the output is a
-- result.

local words = {
  "light", "of", "a", "harbour", "seen", "from", "hills", "above", "the", "old", "town", "where",
  "ships", "wait", "for", "wind", "and", "nobody", "counts", "days",
}

function init(args)
  local file = io.open(args[1])
  wrk.method = "POST"
  wrk.body = file:read("*a"):gsub("MODEL", args[2])
  file:close()
  for at = 3, #args, 2 do
    wrk.headers[args[at]] = args[at + 1]
  end
  if wrk.body:find("TEXT", 1, true) then
    request = always_another(wrk.body)
  end
end

function always_another(body)
  local serial = 0
  return function()
    serial = serial + 1
    local text = {tostring(serial)}
    for at = 1, 3 + serial * 7 % 21 do
      text[at + 1] = words[1 + (serial * 3 + at * 7) % #words]
    end
    return wrk.format(nil, nil, nil, (body:gsub("TEXT", table.concat(text, " "))))
  end
end

function done(summary, latency, _)
  local wrong = summary.errors.connect + summary.errors.read + summary.errors.write
    + summary.errors.status + summary.errors.timeout
  io.write(string.format(
    'RESULT {"calls": %d, "seconds": %f, "p50_us": %f, "p99_us": %f, "bad": %d, "bytes": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
    wrong, summary.bytes))
end
