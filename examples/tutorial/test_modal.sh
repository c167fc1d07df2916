#!/usr/bin/env bash
# ./test_modal.sh URL: checks a deployed app_modal.py and says what holds. Its exit status is the number of things that do not.
# Needs curl, and sample_data.json beside it: the whole iris set, a flower per line.
set -uo pipefail

readonly url=${1:?Usage: ./test_modal.sh URL (the one that the deploy has printed)}
readonly endpoint=${url%/}/predict
readonly samples=$(dirname "$0")/sample_data.json
readonly flower='{"features": [5.1, 3.5, 1.4, 0.2]}'
readonly answer_form='^\{"prediction": ?[0-2], ?"class_name": ?"(setosa|versicolor|virginica)"\}$'
failures=0

main() {
  check "HTTP endpoint working" endpoint_answers
  check "Response format correct" format_is_right
  check "Model predictions accurate" predictions_are_accurate
  check "Error handling working" errors_are_answered
  ((failures == 0)) && echo "All checks passed." || echo "$failures of 4 checks failed."
  exit "$failures"
}

check() {
  local title=$1 reason
  if reason=$("$2"); then
    echo "✓ $title${reason:+: $reason}"
  else
    echo "✗ $title: $reason"
    failures=$((failures + 1))
  fi
}

# The first request may have to wait for a container.
endpoint_answers() {
  local status
  status=$(ask_status -d "$flower")
  [[ $status == 200 ]] || { echo "POST $endpoint was answered $status"; return 1; }
}

format_is_right() {
  local answer
  answer=$(ask -d "$flower")
  [[ $answer =~ $answer_form ]] || { echo "$answer is not {\"prediction\": NUMBER, \"class_name\": NAME}"; return 1; }
}

predictions_are_accurate() {
  local line features expected answer right=0 all=0
  while IFS= read -r line; do
    [[ $line =~ (\[.+\]),\ \"class_name\":\ \"(.+)\" ]] || continue
    features=${BASH_REMATCH[1]} expected=${BASH_REMATCH[2]}
    answer=$(ask -d "{\"features\": $features}")
    all=$((all + 1))
    [[ $answer == *"\"$expected\""* ]] && right=$((right + 1))
  done <"$samples"
  echo "$right of $all"
  ((all == 150 && right * 100 >= all * 95))
}

errors_are_answered() {
  expect 422 "what is no JSON" -d 'no JSON' && expect 500 "a request without features" -d '{}' \
    && expect 500 "two measurements instead of four" -d '{"features": [1, 2]}' && expect 405 "a GET" -X GET \
    && expect 200 "a good request after these" -d "$flower"
}

expect() {
  local status
  status=$(ask_status "${@:3}")
  [[ $status == "$1" ]] || { echo "$2 was answered $status, not $1"; return 1; }
}

ask() {
  curl --silent --show-error --max-time 120 -H 'Content-Type: application/json' "$@" "$endpoint"
}

ask_status() {
  ask --output /dev/null --write-out '%{http_code}' "$@"
}

main
