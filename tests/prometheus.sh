#!/usr/bin/env bash
# A Prometheus watches three daemons: their metrics are well formed, the alerting rules of config/prometheus load and fire.
#
#   bash tests/prometheus.sh [PROGRAM]
#
# Needs prometheus and promtool, which .ci/run installs on Debian. Everything listens on loopback, on free ports.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export LC_ALL=C.UTF-8

program=$(realpath "${1:-${CARGO_TARGET_DIR:-target}/debug/alyx-registrar}")
work=$(mktemp -d)
declare -A pids=()

finish() {
    local code=$?
    trap - EXIT INT TERM
    if ((code != 0)); then tail -n 20 "$work"/*.log || true; fi
    kill "${pids[@]}" 2>/dev/null || true
    wait "${pids[@]}" 2>/dev/null || true
    rm -rf "$work"
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# Tries a command until it succeeds, for a minute.
until_ok() {
    local end=$((SECONDS + 60))
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || { echo "not within a minute: $*" >&2; return 1; }
        sleep 0.2
    done
}

promtool check rules config/prometheus/alerts.yaml
(cd config/prometheus && promtool test rules alerts.test.yaml)
python3 -m json.tool config/grafana/alyx-registrar.json >/dev/null

alyx=$(free_port)
"$program" sandbox --listen "127.0.0.1:$alyx" >"$work/sandbox.log" 2>&1 &
pids[sandbox]=$!
until_ok curl --silent "http://127.0.0.1:$alyx/"
(umask 077 && sed -n 's/.*password \([^)]*\)).*/\1/p' "$work/sandbox.log" >"$work/password")
targets=()
for rig in 1 2 3; do
    page=$(free_port)
    targets+=("127.0.0.1:$page")
    # The second rig's session is of a subject that Alyx does not know.
    subject=KS014
    ((rig != 2)) || subject=unknown
    session=$work/data$rig/cortexlab/Subjects/$subject/2024-05-01/00$rig
    mkdir -p "$session/alf"
    head -c 1000 /dev/urandom >"$session/alf/spikes.times.npy"
    touch "$session/create_me.flag"
    cat >"$work/rig$rig.yaml" <<YAML
data_roots: [$work/data$rig]
state_dir: $work/state$rig
alyx: {url: "http://127.0.0.1:$alyx", username: test_user, password_file: $work/password, timeouts: {request: 1 s}}
http: {listen: "127.0.0.1:$page"}
watch: {settle: 0 s}
datasets: {repository: flatiron_cortexlab}
YAML
    "$program" run --config "$work/rig$rig.yaml" >"$work/rig$rig.log" 2>&1 &
    pids[rig$rig]=$!
    until_ok curl --silent --fail "http://127.0.0.1:$page/healthz"
done
curl --silent "http://${targets[0]}/metrics" | promtool check metrics

cp config/prometheus/alerts.yaml "$work/"
cat >"$work/prometheus.yml" <<YAML
global: {scrape_interval: 200ms, evaluation_interval: 200ms}
rule_files: [alerts.yaml]
scrape_configs:
  - job_name: alyx-registrar
    static_configs: [{targets: [$(IFS=,; printf '"%s"' "${targets[*]}" | sed 's/,/","/g')]}]
YAML
promtool check config "$work/prometheus.yml"
at=127.0.0.1:$(free_port)
prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/series" --web.listen-address="$at" \
    --log.level=warn >"$work/prometheus.log" 2>&1 &
pids[prometheus]=$!

# Whether a query has that answer.
answers() { [[ $(promtool query instant "http://$at" "$1" 2>/dev/null | sed 's/.*=> \([0-9.]*\) @.*/\1/') == "$2" ]]; }

until_ok answers 'count(up{job="alyx-registrar"} == 1)' 3
until_ok answers 'sum(alyx_registrar_registered_datasets_total)' 2
until_ok answers 'count(ALERTS{alertname="SessionNeedsAttention"})' 1
until_ok answers "count(ALERTS{alertname=\"SessionNeedsAttention\", instance=\"${targets[1]}\"})" 1
kill "${pids[rig3]}"
until_ok answers "count(ALERTS{alertname=\"RegistrarDown\", instance=\"${targets[2]}\"})" 1
echo "Prometheus watches three daemons: two registered, one needs attention, one is down"
