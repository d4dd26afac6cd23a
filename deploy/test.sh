#!/usr/bin/env bash
# Tests the market in containers, unattended: see usage below.
set -euo pipefail
cd "$(dirname "$0")"
# Debian's own tools first, also where others are installed beside them.
PATH=/usr/sbin:/usr/bin:/sbin:/bin:${PATH}

usage() {
  cat <<'USAGE'
Usage: deploy/test.sh [--from-source] | --help

Checks the files of the market in containers, then runs deploy/demo.sh and looks at what it started:
who can reach whom, what runs as root, whether HAProxy's limits hold, whether a restart keeps
everything. Leaves nothing behind.

  --from-source  builds the programs in the image, as demo.sh does by itself, and not with this
                 tree's Bazel
  --help         this text

Uses Debian's docker.io, docker-compose and haproxy (./setup.sh --with-deploy). Where no docker daemon
answers, root starts one for the time of the test, in a folder of its own; where no registry does, the
base image is made with debootstrap.

Exit status: 0 passed, 1 failed, 2 wrong usage, 77 not run, with the reason on the last line.
USAGE
}

readonly NOT_RUN=77
# Of this run alone: others may run beside it.
export COMPOSE_PROJECT_NAME=blindcart-test-$$ BLINDCART_IMAGES=blindcart-test-$$
export COMPOSE_FILE=${PWD}/docker-compose.yml
# As demo.sh has them, for what is started again here.
export BLINDCART_LISTEN=127.0.0.1:0 BLINDCART_SECRETS=${PWD}/.demo-secrets/${COMPOSE_PROJECT_NAME}
export BLINDCART_MAX_CONNECTIONS=1000 BLINDCART_MAX_CUSTOMERS=800 BLINDCART_MAX_MERCHANTS=80
readonly OWN_BASE=${BLINDCART_IMAGES}/base:12
readonly ALREADY_THERE=3  # Of demo.sh.
# What is said where a kernel does not have or does not allow what containers need, or no archive answers.
readonly LACKING="operation not permitted|not supported|not implemented|no such device|\
unknown device type|protocol not available|read-only file system|cgroup isn't mounted|\
you must be root|do you need to insmod|modprobe|failed getting release file"

fail() {
  echo "deploy: failed: $*" >&2
  exit 1
}
not_run() {
  echo "deploy: not run: $*"
  exit "${NOT_RUN}"
}
passed() { echo "deploy: ok: $*"; }
# WHAT WORDS: not run when the words say that it cannot be here, else failed.
judge() {
  if grep --quiet --extended-regexp --ignore-case -e "${LACKING}" <<<"$2"; then not_run "$1: $2"; fi
  fail "$1: $2"
}

on_exit() {
  local status=$?
  trap - EXIT
  trap '' INT TERM
  if [[ -n ${market:-} ]]; then ./demo.sh --clean || status=1; fi
  if [[ -n ${daemon:-} ]]; then
    kill "${daemon}" 2>/dev/null || true
    wait "${daemon}" 2>/dev/null || true
  fi
  if [[ -n ${forwarding:-} ]]; then
    restore_network
  elif [[ -n ${images:-} ]]; then
    # By name: another's image may be the same.
    docker images --format '{{.Repository}}:{{.Tag}}' "${BLINDCART_IMAGES}/*" |
      xargs --no-run-if-empty docker rmi >/dev/null || status=1
  fi
  rm -rf "${work}"
  rm -f "${XDG_CACHE_HOME:-${HOME}/.cache}/blindcart/${COMPOSE_PROJECT_NAME}.lock"
  exit "${status}"
}

check_files() {
  local script tool
  for tool in docker docker-compose; do
    command -v "${tool}" >/dev/null || not_run "${tool} is not installed (./setup.sh --with-deploy)"
  done
  for script in ./*.sh ./*/*.sh; do
    bash -n "${script}" || fail "${script}"
  done
  docker-compose config --quiet || fail "docker-compose.yml"
  passed "docker-compose.yml and the scripts can be read"
}

# What a daemon of our own changes for the whole machine, and leaves as it is when it ends.
note_network() {
  forwarding=$(cat /proc/sys/net/ipv4/ip_forward)
  forward_policy=$(iptables --list-rules FORWARD 2>/dev/null | sed -n 1p || true)
  bridge=$(ip -oneline link show docker0 2>/dev/null || true)
}
restore_network() {
  [[ -z ${bridge} ]] || return 0
  ip link delete docker0 2>/dev/null || true
  echo "${forwarding}" >/proc/sys/net/ipv4/ip_forward || true
  # "-P FORWARD ACCEPT", a rule's words.
  # shellcheck disable=SC2086
  [[ -z ${forward_policy} ]] || iptables ${forward_policy} || true
  # Its chains, and the rules that lead there.
  local rules
  rules=$(iptables-save 2>/dev/null | grep --invert-match --ignore-case docker) || return 0
  iptables-restore <<<"${rules}" || true
}

# Starts a daemon of our own with these options; false when it does not come up.
start_daemon() {
  dockerd --data-root "${work}/data" --exec-root "${work}/exec" --pidfile "${work}/pid" \
    --host "unix://${work}/docker.sock" "$@" >"${work}/dockerd.log" 2>&1 {lock}>&- &
  daemon=$!
  export DOCKER_HOST=unix://${work}/docker.sock
  local waited
  for ((waited = 0; waited < 60; ++waited)); do
    docker version >/dev/null 2>&1 && return
    kill -0 "${daemon}" 2>/dev/null || break
    sleep 1
  done
  kill "${daemon}" 2>/dev/null || true
  wait "${daemon}" 2>/dev/null || true
  daemon=
  return 1
}

# What dockerd said last, without its dates and fields.
daemons_words() {
  grep -E 'level=(error|fatal)|failed to start' "${work}/dockerd.log" | tail -1 |
    sed 's/.*msg="\(.*\)"$/\1/' | cut -c1-300
}

find_daemon() {
  docker version >/dev/null 2>&1 && return
  command -v dockerd >/dev/null || not_run "no docker daemon answers, and there is no dockerd"
  ((EUID == 0)) || not_run "no docker daemon answers, and only root can start one"
  # Two daemons would share the bridge and the packet filter.
  exec {lock}>/run/lock/blindcart-dockerd.lock
  flock --timeout 900 "${lock}" || fail "another test's own dockerd has run for 15 minutes"
  docker version >/dev/null 2>&1 && return
  note_network
  start_daemon && return
  local why
  why=$(daemons_words)
  # The slowest storage, which every kernel has.
  start_daemon --storage-driver=vfs && return
  if start_daemon --storage-driver=vfs --iptables=false --bridge=none; then
    not_run "this kernel lets dockerd make no networks: ${why}"
  fi
  judge "dockerd does not start" "${why}"
}

find_base() {
  export BLINDCART_BASE=${BLINDCART_BASE:-debian:12-slim}
  docker image inspect "${BLINDCART_BASE}" >/dev/null 2>&1 && return
  timeout 120 docker pull --quiet "${BLINDCART_BASE}" >/dev/null 2>&1 && return
  echo "deploy: no registry has ${BLINDCART_BASE} for us; making one with debootstrap"
  command -v debootstrap >/dev/null || not_run "no registry answers, and there is no debootstrap"
  ((EUID == 0)) || not_run "no registry answers, and only root can run debootstrap"
  debootstrap --variant=minbase bookworm "${work}/base" >"${work}/debootstrap.log" 2>&1 ||
    judge "no registry answers, and debootstrap failed" "$(tail -1 "${work}/debootstrap.log")"
  export BLINDCART_BASE=${OWN_BASE}
  tar --directory "${work}/base" --create . | docker import - "${OWN_BASE}" >/dev/null
  rm -rf "${work}/base"
}

check_kernel() {
  local why
  why=$(docker run --rm --network none --read-only --cap-drop ALL --user 10001:10001 \
    "${BLINDCART_BASE}" true 2>&1) ||
    judge "no container runs" "$(tail -1 <<<"${why}")"
  why=$(docker network create --internal "${COMPOSE_PROJECT_NAME}-probe" 2>&1) ||
    judge "no network for containers can be made" "${why}"
  docker network rm "${COMPOSE_PROJECT_NAME}-probe" >/dev/null
}

in_container() { docker-compose exec -T "$@"; }
id_of() { docker-compose ps --quiet "$1"; }
# SERVICE [N]: its first or Nth address.
address_of() {
  docker inspect --format '{{range .NetworkSettings.Networks}}{{println .IPAddress}}{{end}}' \
    "$(id_of "$1")" | sed -n "${2:-1}p" | grep .
}
# FROM HOST PORT
reaches() { in_container "$1" timeout 3 bash -c ": </dev/tcp/$2/$3" >/dev/null 2>&1; }

readonly SERVICES=(postgres broker-1 broker-2 haproxy quiet-books night-records agent prometheus)

check_confinement() {
  local service id state
  for service in "${SERVICES[@]}"; do
    id=$(id_of "${service}")
    state=$(docker inspect --format '{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}} {{.HostConfig.RestartPolicy.Name}}' "${id}")
    [[ ${state} == "true [ALL] [no-new-privileges:true] unless-stopped" ]] || fail "${service}: ${state}"
    [[ $(in_container "${service}" id -u) == 10001 ]] || fail "${service} runs as somebody else"
    in_container "${service}" grep --quiet $'^CapEff:\t0*$' /proc/1/status || fail "${service} has capabilities"
    ! in_container "${service}" touch /usr/written 2>/dev/null || fail "${service} can write to its root"
    state=$(docker port "${id}")
    [[ (${service} == haproxy && ${state} == "7443/tcp -> 127.0.0.1:"*) || -z ${state} ]] ||
      fail "${service} publishes ${state}"
  done
  passed "no root, no capabilities, nothing to write to, one published port"
}

check_networks() {
  local from to port outside address addresses=() postgres prometheus
  # HAProxy's address in the network that leads out, where it listens as well.
  outside=$(docker inspect --format \
    "{{(index .NetworkSettings.Networks \"${COMPOSE_PROJECT_NAME}_edge\").IPAddress}}" "$(id_of haproxy)")
  reaches haproxy "${outside}" 7443 || fail "HAProxy does not listen in its outer network"
  reaches broker-1 postgres 5432 || fail "a broker does not reach PostgreSQL"
  reaches haproxy broker-2 7443 || fail "HAProxy does not reach a broker"
  for from in quiet-books night-records agent; do
    reaches "${from}" haproxy 7443 || fail "${from} does not reach HAProxy"
  done
  # By address: that a name is unknown keeps nobody away.
  postgres=$(address_of postgres) || fail "PostgreSQL has no address"
  prometheus=$(address_of prometheus) || fail "Prometheus has no address"
  for to in broker-1 broker-2; do
    for port in 1 2; do
      address=$(address_of "${to}" "${port}") || fail "${to} is not in two networks"
      addresses+=("${address}")
    done
  done
  for from in quiet-books night-records agent haproxy prometheus; do
    ! reaches "${from}" "${postgres}" 5432 || fail "${from} reaches PostgreSQL"
  done
  for from in quiet-books night-records agent; do
    for address in "${addresses[@]}"; do
      for port in 7443 9464; do
        ! reaches "${from}" "${address}" "${port}" || fail "${from} reaches a broker"
      done
    done
    ! reaches "${from}" "${prometheus}" 9090 || fail "${from} reaches Prometheus"
    ! reaches "${from}" "${outside}" 7443 || fail "${from} has a way out of its network"
    ! reaches "${from}" haproxy 8405 || fail "${from} reaches the operator's port of HAProxy"
  done
  passed "shops and agent reach HAProxy alone, and only brokers reach PostgreSQL"
}

# How many connections HAProxy has turned down at the customers' door.
turned_down() {
  in_container haproxy http-get 8405 /metrics |
    sed -n 's/^haproxy_frontend_denied_connections_total{proxy="customers"} //p'
}

check_limits() {
  local address before after connection connections=()
  address=$(docker port "$(id_of haproxy)" 7443/tcp | sed -n 1p)
  before=$(turned_down)
  while ((${#connections[@]} < 80)); do
    exec {connection}<>"/dev/tcp/${address%:*}/${address##*:}"
    connections+=("${connection}")
  done
  after=$(turned_down)
  ((after > before)) || fail "one address may open ${#connections[@]} connections at once"
  # Meanwhile others are served.
  in_container agent blindcart browse quiet-books >/dev/null || fail "others suffer from one address's connections"
  for connection in "${connections[@]}"; do exec {connection}>&-; done
  passed "HAProxy turns down an address with too many connections, and no other"

  local attempt
  for ((attempt = 0; attempt < 25; ++attempt)); do
    ! in_container agent blindcart login --username "nobody${attempt}" \
      --password-file /run/secrets/alice_pin >/dev/null 2>&1 || fail "a wrong password was accepted"
  done
  in_container agent blindcart login --username alice --password-file /run/secrets/alice_password >/dev/null ||
    fail "failed logins of some keep others out"
  passed "failed logins through HAProxy keep nobody else out"
}

wait_for_all() {
  local deadline=$((SECONDS + 180)) service
  for service in "${SERVICES[@]}"; do
    until [[ $(docker inspect --format '{{.State.Health.Status}}' "$(id_of "${service}")") == healthy ]]; do
      ((SECONDS < deadline)) || fail "${service} does not come back"
      sleep 1
    done
  done
}

check_restart() {
  local before after
  before=$(in_container broker-1 broker list accounts --data-dir broker --json)
  docker-compose restart --timeout 45 >/dev/null 2>&1
  wait_for_all
  after=$(in_container broker-2 broker list accounts --data-dir broker --json)
  [[ ${before} == "${after}" && ${before} == *1001* ]] || fail "a restart changed the accounts"
  in_container broker-1 broker audit --data-dir broker >/dev/null || fail "the books are wrong after a restart"
  passed "all of it restarted, nothing lost"
}

# As after a restore: the database and the brokers' folders are there, what was published is not.
check_restore() {
  local before after
  before=$(in_container broker-1 sha256sum broker/broker.card broker/tls/certificate.pem)
  docker-compose down --timeout 45 >/dev/null 2>&1
  docker volume rm "${COMPOSE_PROJECT_NAME}"_{papers-operator,edge} >/dev/null
  docker-compose up --detach --no-build >/dev/null 2>&1 || fail "the market does not start from its restored part"
  wait_for_all
  after=$(in_container broker-1 sha256sum broker/broker.card broker/tls/certificate.pem)
  [[ -n ${before} && ${before} == "${after}" ]] || fail "make-broker made another broker in the place of a restored one"
  [[ $(in_container quiet-books sha256sum /handover/operator/broker.card) == "${before%% *} "* ]] ||
    fail "the card is not handed out again"
  in_container broker-2 broker audit --data-dir broker >/dev/null || fail "the books are wrong after a restore"
  passed "what was published is published again, and the keys stay"
}

main() {
  local how=--prebuilt
  case "${1:-}" in
    '') ;;
    --from-source) how= ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; echo "test.sh: unknown argument: $1" >&2; exit 2 ;;
  esac
  work=$(mktemp --directory /var/tmp/blindcart-deploy-XXXXXX)
  trap on_exit EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  check_files
  find_daemon
  images=made
  find_base
  check_kernel
  local ended=0
  market=started
  # Bazel may leave a server behind, which must not hold the lock.
  if [[ -n ${lock:-} ]]; then
    ./demo.sh ${how} --keep {lock}>&- || ended=$?
  else
    ./demo.sh ${how} --keep || ended=$?
  fi
  # Not ours to remove.
  if ((ended == ALREADY_THERE)); then market=; fi
  ((ended == 0)) || fail "demo.sh ended with ${ended}"
  passed "demo.sh"
  check_confinement
  check_networks
  check_limits
  check_restart
  check_restore
  market=
  ./demo.sh --clean || fail "demo.sh --clean"
  [[ -z $(docker ps --all --quiet --filter "label=com.docker.compose.project=${COMPOSE_PROJECT_NAME}") ]] ||
    fail "demo.sh --clean leaves containers behind"
  [[ -z $(docker volume ls --quiet --filter "label=com.docker.compose.project=${COMPOSE_PROJECT_NAME}") ]] ||
    fail "demo.sh --clean leaves volumes behind"
  passed "nothing is left behind"
}

main "$@"
