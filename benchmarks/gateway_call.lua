-- wrk's call: arguments are key, body file and model; the last line of the output is a result.

function init(args)
  local file = io.open(args[2])
  wrk.method = "POST"
  wrk.body = file:read("*a"):gsub("MODEL", args[3])
  file:close()
  wrk.headers["content-type"] = "application/json"
  wrk.headers["authorization"] = "Bearer " .. args[1]
end



function done(summary, latency, _)
  local wrong = summary.errors.connect + summary.errors.read + summary.errors.write
    + summary.errors.status + summary.errors.timeout
  io.write(string.format('RESULT {"calls": %d, "seconds": %f, "p50_us": %f, "bad": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50), wrong))
end
