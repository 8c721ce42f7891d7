-- Sends the requests of a file in turn: a path and a token on each line. They are put together
-- before the run, so that sending costs little.
-- Arguments: the file, the status that every response must have, and the JSON that each request
-- posts; without it they are GET.

local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(arguments)
  prepared, last, expected, others = {}, 0, tonumber(arguments[2]), 0
  local method, body = arguments[3] and "POST" or "GET", arguments[3]
  for line in io.lines(arguments[1]) do
    local path, token = line:match("(%S+) (%S+)")
    local headers = { authorization = "Bearer " .. token, ["content-type"] = body and "application/json" }
    table.insert(prepared, wrk.format(method, path, headers, body))
  end
end

function request()
  last = last % #prepared + 1
  return prepared[last]
end

function response(status)
  if status ~= expected then
    others = others + 1
  end
end

function done(summary)
  local others = 0
  for _, thread in ipairs(threads) do
    others = others + thread:get("others")
  end
  local errors = summary.errors
  io.write(string.format('\n{"requests": %d, "duration_us": %d, "other_statuses": %d, "broken": %d}\n',
    summary.requests, summary.duration, others, errors.connect + errors.read + errors.write + errors.timeout))
end
