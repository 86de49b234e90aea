-- The last line of wrk's output: requests, microseconds, failures.
function done(summary)
  local errors = summary.errors
  local failures = errors.status + errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format("%d %d %d\n", summary.requests, summary.duration, failures))
end
