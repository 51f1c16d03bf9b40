-- For wrk: POSTs the body in $BODY to $TARGET, or GETs $TARGET for each id of the file $IDS in turn ("{id}" is replaced).
local requests, at = {}, 0

function init()
  local target = os.getenv("TARGET")
  local ids = os.getenv("IDS")
  if ids then
    for id in io.lines(ids) do
      requests[#requests + 1] = wrk.format("GET", (target:gsub("{id}", id)))
    end
  else
    local headers = { ["Content-Type"] = "application/json" }
    requests[1] = wrk.format("POST", target, headers, os.getenv("BODY"))
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency)
  local bad = summary.errors
  io.write(string.format(
    '\nJSON {"requests":%d,"seconds":%.4f,"p50_ms":%.3f,"p99_ms":%.3f,"errors":%d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    bad.connect + bad.read + bad.write + bad.status + bad.timeout))
end
