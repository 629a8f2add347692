#!/usr/bin/env bash
# Brings up docker-compose.yml as it is, asks the fleet from inside and outside, kills a worker during a query, lets one
# join from outside, and takes everything down again. One PASS or FAIL line per step; stops at the first FAIL.
#
# AXON_COMPOSE chooses the command (default: the docker compose plugin, else docker-compose), AXON_TEST_BIN_DIR the
# folder of the binaries used from outside (default: target/debug). Logs are in .axon/compose-test/.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
logs="$root/.axon/compose-test"
bins="${AXON_TEST_BIN_DIR:-$root/target/debug}"
groups="developer reviewer researcher tester investigator"
question="Review this repository for code quality and error handling"

export COMPOSE_PROJECT_NAME=axon-compose-test

if [ -n "${AXON_COMPOSE:-}" ]; then
    read -r -a compose <<<"$AXON_COMPOSE"
elif docker compose version >/dev/null 2>&1; then
    compose=(docker compose)
else
    compose=(docker-compose)
fi
compose() { "${compose[@]}" "$@"; }

# A port that nobody listens on, the first of those given.
free_port() {
    local port
    for port in "$@"; do
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
    done
    echo "none of the ports $* is free on 127.0.0.1" >&2
    return 1
}

# step NAME COMMAND... runs it with its output in a log and prints how it went.
step() {
    local name=$1 started=$SECONDS status log
    shift
    log="$logs/$(tr -c 'a-z0-9\n' '-' <<<"${name,,}").log"
    # Not as the condition of an if: there errexit does not hold inside.
    set +e
    (set -e; "$@") >"$log" 2>&1
    status=$?
    set -e
    if [ "$status" = 0 ]; then
        printf 'PASS  %-62s %3d s\n' "$name" $((SECONDS - started))
        return
    fi
    printf 'FAIL  %-62s %3d s\n' "$name" $((SECONDS - started))
    printf -- '--- %s\n' "$log"
    tail -n 40 "$log"
    printf -- '--- the last lines of the fleet\n'
    compose ps -a 2>/dev/null || compose ps || true
    compose logs --no-color --tail=25 2>&1 | tail -n 200 || true
    exit 1
}

# wait_for SECONDS COMMAND... tries until it succeeds.
wait_for() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || { echo "waited in vain for: $*"; return 1; }
        sleep 0.5
    done
}

# The running containers of one service. The two generations of compose differ in what their `ps` lists.
containers() {
    docker ps -q --no-trunc --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" \
        --filter "label=com.docker.compose.service=$1" --filter "label=com.docker.compose.oneoff=False"
}

# The running containers of all worker groups.
workers() {
    local group
    for group in $groups; do containers "$group"; done
}

# get CONTAINER PATH prints the response of its health server.
get() {
    # The variables are those of the inner shell.
    # shellcheck disable=SC2016
    docker exec "$1" bash -c \
        'exec 3<>/dev/tcp/127.0.0.1/9100 && printf "GET %s HTTP/1.0\r\n\r\n" "$0" >&3 && cat <&3' "$2"
}

# metric CONTAINER REGEX prints the sum of the samples that match.
metric() {
    get "$1" /metrics | awk -v wanted="^$2" '$0 ~ wanted { sum += $NF } END { print sum + 0 }'
}

at_least() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a + 0 >= b + 0) }'; }

healthy() {
    local id
    for id in $(containers nats) $(containers lead) $(containers synthesizer) $(workers); do
        [ "$(docker inspect -f '{{.State.Health.Status}}' "$id")" = healthy ] || return 1
    done
}

count_is() { [ "$(containers "$1" | wc -l)" = "$2" ]; }

# check_answer FILE [evidence] reads an answer: complete, and every cited line is what the repository holds.
check_answer() {
    python3 - "$1" "${2:-}" <<'PYTHON'
import json, pathlib, sys

text = pathlib.Path(sys.argv[1]).read_text()
try:
    answer = json.loads(text)
except ValueError as error:
    sys.exit(f"no JSON document: {error}\n{text[:2000]}")
for field in ("query_id", "status", "author", "tasks_delegated", "tasks_completed", "worker_count", "retries", "missing"):
    print(f"{field}: {answer.get(field)}")
if answer["status"] != "complete":
    sys.exit(f"the answer is {answer['status']}: {answer.get('error')} {answer.get('missing')}")
if answer["tasks_completed"] != answer["tasks_delegated"]:
    sys.exit("not every task was completed")
if sys.argv[2] == "evidence":
    cited = 0
    for aspect in answer["aspects"]:
        for finding in aspect["findings"]:
            for evidence in finding["evidence"]:
                if "path" not in evidence:
                    continue
                lines = pathlib.Path(evidence["path"]).read_text().splitlines()
                quote = evidence["quote"].splitlines()
                first = evidence["line"] - 1
                if lines[first:first + len(quote)] != quote:
                    sys.exit(f"{evidence['path']}:{evidence['line']} does not hold {quote}")
                cited += 1
    print(f"cited passages, all as quoted: {cited}")
    if cited == 0:
        sys.exit("the answer cites nothing")
PYTHON
}

# sleep_plan TASKS MILLISECONDS writes a plan whose tasks only wait.
sleep_plan() {
    python3 - "$1" "$2" <<'PYTHON'
import json, sys

call = {"tool_id": "wait", "tool_name": "diag.sleep", "params": {"ms": int(sys.argv[2])}}
task = {"objective": "wait", "required_capabilities": ["Diagnostics"], "calls": [call]}
print(json.dumps({"tasks": [task] * int(sys.argv[1])}))
PYTHON
}

outside() { AXON_BUS__URL="nats://127.0.0.1:$AXON_NATS_PORT" timeout 300 "$bins/axon" "$@"; }

bring_up() {
    compose up -d --build
    wait_for 120 healthy
}

scale_reviewers() {
    compose up -d --scale reviewer=4
    wait_for 60 count_is reviewer 4
    wait_for 120 healthy
}

not_root() {
    local id user
    for id in $(containers nats) $(containers lead) $(containers synthesizer) $(workers); do
        user=$(docker exec "$id" id -u)
        echo "$id runs as user $user"
        [ "$user" != 0 ]
    done
}

ask_inside() {
    timeout 300 "${compose[@]}" run --rm -T axon ask --json "$question" </dev/null >"$logs/inside.json"
    check_answer "$logs/inside.json" evidence
}

ask_outside() {
    outside ask --json --workspace "$root" "$question" </dev/null >"$logs/outside.json"
    check_answer "$logs/outside.json" evidence
}

# Both questions, and a plan with more tasks than the fleet has slots for at once, so that every worker gets some.
metrics_show() {
    local id sum=0
    sleep_plan 120 500 >"$logs/spread.json"
    outside ask --json --plan "$logs/spread.json" "a spread of short tasks" </dev/null >"$logs/spread-answer.json"
    check_answer "$logs/spread-answer.json"
    for id in $(containers lead); do
        sum=$(metric "$id" 'axon_queries_total[{].*outcome="complete"' | awk -v sum="$sum" '{ print sum + $1 }')
    done
    echo "answered queries: $sum"
    at_least "$sum" 3
    for id in $(workers); do
        echo "worker $id: $(metric "$id" 'axon_task_starts_total') started, $(metric "$id" 'axon_tasks_total') ended"
        at_least "$(metric "$id" 'axon_tasks_total')" 1
    done
    sum=0
    for id in $(containers synthesizer); do
        sum=$(metric "$id" "$synthesizer_metric" | awk -v sum="$sum" '{ print sum + $1 }')
    done
    echo "syntheses: $sum"
    at_least "$sum" 3
}
# What counts syntheses.
synthesizer_metric='axon_answer_coverage_ratio_count'

prometheus_has_targets() {
    python3 - "$AXON_PROMETHEUS_PORT" "$1" <<'PYTHON'
import json, sys, urllib.request

base = f"http://127.0.0.1:{sys.argv[1]}/api/v1"
try:
    targets = json.load(urllib.request.urlopen(f"{base}/targets?state=active", timeout=5))["data"]["activeTargets"]
    rules = json.load(urllib.request.urlopen(f"{base}/rules", timeout=5))["data"]["groups"]
except OSError as error:
    sys.exit(f"not there yet: {error}")
up = sorted(target["labels"]["service"] for target in targets if target["health"] == "up")
print("up:", *up)
sys.exit(0 if len(up) == int(sys.argv[2]) and rules else 1)
PYTHON
}

prometheus_finds_all() {
    local processes
    processes=$({ containers lead; containers synthesizer; workers; } | wc -l)
    compose --profile monitoring up -d --no-recreate --scale reviewer=4
    wait_for 90 prometheus_has_targets "$processes"
}

busy_worker() {
    local id
    for id in $(containers developer) $(containers tester) $(containers researcher); do
        at_least "$(metric "$id" 'axon_slots[{].*busy')" 1 && { echo "$id"; return; }
    done
    return 1
}

kill_one_worker() {
    local asking victim
    sleep_plan 60 3000 >"$logs/long.json"
    outside ask --json --plan "$logs/long.json" "long tasks" </dev/null >"$logs/long-answer.json" &
    asking=$!
    wait_for 30 busy_worker
    victim=$(busy_worker)
    echo "killing $victim with $(metric "$victim" 'axon_slots[{].*busy') busy slots"
    docker kill "$victim"
    kill -0 "$asking" || { echo "the query had ended already"; return 1; }
    wait "$asking"
    check_answer "$logs/long-answer.json"
}

registered() {
    local fleet
    fleet=$(outside workers --json) && grep -qE "\"pid\": *$1([,}]|\$)" <<<"$fleet"
}

# A worker outside of the project joins by the address of the server alone, and leaves without losing anything.
join_from_outside() {
    local worker status=0
    AXON_BUS__URL="nats://127.0.0.1:$AXON_NATS_PORT" "$bins/axon-worker" --agent-type reviewer \
        >"$logs/outside-worker.log" 2>&1 &
    worker=$!
    if wait_for 30 registered "$worker"; then
        outside ask --json --workspace "$root" "$question" </dev/null >"$logs/joined.json" || status=$?
        [ "$status" != 0 ] || check_answer "$logs/joined.json" evidence || status=$?
    else
        outside workers --json || true
        status=1
    fi
    kill -TERM "$worker"
    wait "$worker" || { echo "the worker did not drain: exit $?"; status=1; }
    [ "$status" = 0 ] || cat "$logs/outside-worker.log"
    return "$status"
}

# What deploy/nats.conf forbids is nothing that Axon does.
nothing_refused() {
    local log
    log=$(docker logs "$(containers nats)" 2>&1)
    ! grep -i violation <<<"$log"
}

take_down() {
    local id ids code
    ids=$({ containers lead; containers synthesizer; workers; })
    compose stop
    for id in $ids; do
        code=$(docker inspect -f '{{.State.ExitCode}}' "$id")
        echo "$id exited with $code"
        # The one that was killed is not running and not among them.
        [ "$code" = 0 ] || return 1
    done
    compose --profile tools --profile monitoring down -v --remove-orphans
    [ -z "$(docker ps -aq --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME")" ]
}

clean_up() {
    compose --profile tools --profile monitoring down -v --remove-orphans -t 5 >"$logs/clean-up.log" 2>&1 || true
}

rm -rf "$logs"
mkdir -p "$logs"
docker info >/dev/null 2>&1 || { echo "FAIL  docker cannot be reached: start it, or allow this user to use it" >&2; exit 1; }
for binary in axon axon-worker; do
    [ -x "$bins/$binary" ] || { echo "FAIL  $bins/$binary is missing: run make compose-test, or set AXON_TEST_BIN_DIR" >&2; exit 1; }
done
AXON_NATS_PORT=$(free_port 4222 14222 24222)
AXON_PROMETHEUS_PORT=$(free_port 9090 19090 29090)
export AXON_NATS_PORT AXON_PROMETHEUS_PORT

trap clean_up EXIT
clean_up

step "base images are there" scripts/stand-ins.sh
step "the image builds" compose build
step "the fleet comes up healthy" bring_up
step "no process runs as root" not_root
step "scaled to four reviewers" scale_reviewers
step "asked from inside: a complete answer, evidence holds" ask_inside
step "asked from outside: a complete answer, evidence holds" ask_outside
step "the metrics of every process show the queries" metrics_show
step "prometheus finds every replica" prometheus_finds_all
step "a worker killed during a query: still complete" kill_one_worker
step "a worker joins from outside, the fleet answers" join_from_outside
step "the server refused nobody" nothing_refused
step "every process drains and everything is removed" take_down
