# shellcheck shell=bash
# The counting of results, for tests/run, tests/lint and what is in tests/all/. To be sourced.
passed=0 failed=0

# count GOOD BAD [STATUS]: results of a program. One that fails, or has nothing to count, without saying what is bad, counts
# as one failed test. Empty numbers are 0.
count() {
  local good=${1:-0} bad=${2:-0} status=${3:-0}
  [ "$bad" -gt 0 ] || { [ "$status" -eq 0 ] && [ "$good" -gt 0 ]; } || bad=1
  passed=$((passed + good)) failed=$((failed + bad))
}

# count_pytest FILE STATUS: as the last line of pytest's output has them: "2 failed, 107 passed, 1 error in 92.1s".
count_pytest() {
  local line good bad
  line=$(tail -1 "$1")
  good=$(grep -oE '[0-9]+ passed' <<<"$line" | grep -oE '[0-9]+')
  bad=$(grep -oE '[0-9]+ (failed|error)' <<<"$line" | awk '{ n += $1 } END { print n + 0 }')
  count "$good" "$bad" "$2"
}

# part NAME COMMAND ..: one test. Its output goes to $log/NAME.log, and is shown where it fails.
part() {
  local name=$1 begin=$SECONDS
  shift
  if "$@" >"${log:?a folder}/$name.log" 2>&1; then
    count 1 0
    echo "ok     $name ($((SECONDS - begin)) s)"
  else
    count 0 1
    tail -100 "$log/$name.log"
    echo "FAILED $name ($((SECONDS - begin)) s)"
  fi
}

# The last line of every test program. False where anything failed.
results() {
  echo "$passed passed, $failed failed"
  [ "$failed" -eq 0 ]
}
