-- Posts the bodies of the folder BODIES in turn, with the headers of its file "headers"; prints what came as JSON.
local folder = os.getenv("BODIES")
local requests, turn = {}, 0

local function read(name)
  local file = assert(io.open(folder .. "/" .. name, "rb"))
  local content = file:read("*a")
  file:close()
  return content
end

function init()
  local headers = {}
  for name, value in read("headers"):gmatch("([^\n:]+): ([^\n]*)\n") do
    headers[name] = value
  end
  for number = 0, tonumber(os.getenv("COUNT")) - 1 do
    requests[#requests + 1] = wrk.format("POST", nil, headers, read(tostring(number)))
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format(
    'RESULT {"requests": %d, "seconds": %f, "failed": %d, "p50": %f, "p99": %f}\n',
    summary.requests, summary.duration / 1e6, failed, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
