-- Sorting, strings that are made and searched, recursion.
local function sorted(n)
  local list, sum = {}, 0
  for i = 1, n do list[i] = i * 7919 % 50021 end
  table.sort(list)
  for i = 1, n, 97 do sum = sum + list[i] end
  return sum
end
local function fibonacci(n) if n < 2 then return n end return fibonacci(n - 1) + fibonacci(n - 2) end
local words, sum = {}, 0
for i = 1, 120000 do words[#words + 1] = string.format("%d:%s", i, string.rep("x", i % 7)) end
for number in table.concat(words, " "):gmatch("(%d+):x+") do sum = sum + tonumber(number) end
print(sorted(100000), sum, fibonacci(26))
