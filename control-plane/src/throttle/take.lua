-- Takes one request out of a bucket (GCRA). KEYS[1]: the bucket; ARGV[1]: microseconds in which it is given one
-- request; ARGV[2]: how many it holds. Answers: whether one was taken, how many are left, microseconds until one can
-- be taken, microseconds until it is full. Redis' own clock is the only one.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local each = tonumber(ARGV[1])
local whole = each * tonumber(ARGV[2])
-- When it will be full: stored as the only thing, and for as long as it lies ahead. A bucket is never emptier than
-- empty, also after the clock was set back or the bucket was made smaller.
local full_at = tonumber(redis.call('GET', KEYS[1]) or now)
full_at = math.min(math.max(full_at, now), now + whole)
if full_at + each > now + whole then
  return { 0, 0, full_at + each - now - whole, full_at - now }
end
full_at = full_at + each
redis.call('SET', KEYS[1], string.format('%.0f', full_at), 'PX', math.ceil((full_at - now) / 1000))
return { 1, math.floor((now + whole - full_at) / each), 0, full_at - now }
