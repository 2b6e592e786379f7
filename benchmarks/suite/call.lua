-- wrk's call: arguments are body file and model, then header names and values in turn. The last line
-- of the output is a result.

function init(args)
  local file = io.open(args[1])
  wrk.method = "POST"
  wrk.body = file:read("*a"):gsub("MODEL", args[2])
  file:close()
  for at = 3, #args, 2 do
    wrk.headers[args[at]] = args[at + 1]
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
