-- Requests with the Accept headers that the command line names, in turn; an empty one stands for
-- none. The last line of the output: requests, microseconds, failures.
local requests, number = {}, 0

function init(arguments)
  if #arguments == 0 then arguments = { "" } end
  for index, accept in ipairs(arguments) do
    local headers = { Host = wrk.headers["Host"] }
    if accept ~= "" then headers["Accept"] = accept end
    requests[index] = wrk.format("GET", nil, headers)
  end
end

function request()
  number = number % #requests + 1
  return requests[number]
end

function done(summary)
  local errors = summary.errors
  local failures = errors.status + errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format("%d %d %d\n", summary.requests, summary.duration, failures))
end
