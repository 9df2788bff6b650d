-- wrk's script: sends requests from a file, each whole and signed, in turn. `PRESIGNED` names the file: a line with a
-- request's length in bytes, the request, and so on.

local requests = {}
local file = assert(io.open(assert(os.getenv("PRESIGNED")), "rb"))
for line in file:lines() do
   requests[#requests + 1] = file:read(assert(tonumber(line)))
end
file:close()

local next_request = 0

function request()
   next_request = next_request % #requests + 1
   return requests[next_request]
end
