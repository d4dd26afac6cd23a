#!/usr/bin/env bash
# A whole market in containers, shown: see usage below.
set -euo pipefail
cd "$(dirname "$0")"

usage() {
  cat <<'USAGE'
Usage: deploy/demo.sh [--keep] [--prebuilt] | --clean | --help

Builds the images, starts a market (PostgreSQL, two brokers behind HAProxy, two shops, a customer's
agent, Prometheus), buys something as the customer, shows what each party knows of it, kills the
broker that the customer is at, buys again, and removes everything but the images.

  --keep      leaves the market running and says how to go on
  --prebuilt  takes the programs from this tree's own Bazel instead of building them in the image;
              needs Debian 12 and ./setup.sh
  --clean     only removes what --keep left
  --help      this text

Needs docker and docker-compose (Debian: apt-get install docker.io docker-compose), 4 GB of memory,
and for the first build some minutes and the network. Environment:
  BLINDCART_BASE      base image [debian:12-slim]
  BLINDCART_LISTEN    the one published address [127.0.0.1:7443]
  COMPOSE_PROJECT_NAME  prefix of containers, networks and volumes [blindcart-demo]

Exit status: 0 done, 1 failed, 2 wrong usage, 3 nothing done, since a market of that name is there
already.
USAGE
}

export DOCKER_BUILDKIT=1 COMPOSE_DOCKER_CLI_BUILD=1
export COMPOSE_PROJECT_NAME=${COMPOSE_PROJECT_NAME:-blindcart-demo}
export COMPOSE_FILE=${PWD}/docker-compose.yml
# Pass phrases and passwords: a folder of the demo's own, which --clean removes with all that is in it.
# That it is there also says that the market of that name was started here.
export BLINDCART_SECRETS=${PWD}/.demo-secrets/${COMPOSE_PROJECT_NAME}
# Enough for a demo, also where a process may open few files.
export BLINDCART_MAX_CONNECTIONS=1000 BLINDCART_MAX_CUSTOMERS=800 BLINDCART_MAX_MERCHANTS=80
readonly OPERATOR_IMAGE=${BLINDCART_IMAGES:-blindcart}/operator
readonly PATIENCE_S=${BLINDCART_PATIENCE_S:-300} ALREADY_THERE=3

die() {
  echo "demo.sh: $*" >&2
  exit 1
}
already_there() {
  echo "demo.sh: $*" >&2
  exit "${ALREADY_THERE}"
}
step() { printf '\n== %s\n' "$*"; }
# Shows a command as it is typed, then its output.
in_container() {
  local container=$1
  shift
  printf '%s$ %s\n' "${container}" "$*"
  docker-compose exec -T "${container}" "$@"
}
quietly() { docker-compose exec -T "$@" >/dev/null 2>&1; }

check_tools() {
  # It becomes part of files' names here, and docker-compose would leave out the rest.
  [[ ${COMPOSE_PROJECT_NAME} =~ ^[a-z0-9][a-z0-9_-]*$ ]] ||
    die "COMPOSE_PROJECT_NAME has small letters, digits, - and _ only"
  local tool
  for tool in docker docker-compose; do
    command -v "${tool}" >/dev/null ||
      die "there is no ${tool}. On Debian 12: apt-get install docker.io docker-compose"
  done
  local why
  why=$(docker version 2>&1 >/dev/null) ||
    die "docker does not answer (${why}). Start it with: systemctl start docker. You have to be root or in the group docker"
}

# One run for each market of this user, from whatever folder. Held until this script ends.
take_lock() {
  local folder=${XDG_CACHE_HOME:-${HOME}/.cache}/blindcart
  mkdir -p "${folder}"
  exec {lock}>"${folder}/${COMPOSE_PROJECT_NAME}.lock"
  flock --nonblock "${lock}" || already_there "another demo.sh works on ${COMPOSE_PROJECT_NAME} at this moment"
}

# Nobody else's market is shown, and above all none is removed.
check_project() {
  [[ ! -d ${BLINDCART_SECRETS} ]] || return 0
  local label="label=com.docker.compose.project=${COMPOSE_PROJECT_NAME}"
  [[ -z $(docker ps --all --quiet --filter "${label}") && -z $(docker volume ls --quiet --filter "${label}") ]] ||
    already_there "${COMPOSE_PROJECT_NAME} was not started by this script from here: give another COMPOSE_PROJECT_NAME"
}

# COMMAND...: asks until it says yes.
wait_until() {
  local deadline=$((SECONDS + PATIENCE_S))
  until "$@"; do
    ((SECONDS < deadline)) || die "waited ${PATIENCE_S} s in vain for: $*"
    sleep 1
  done
}
healthy() {
  local id
  id=$(docker-compose ps --quiet "$1")
  [[ -n ${id} && $(docker inspect --format '{{.State.Health.Status}}' "${id}") == healthy ]]
}
# Over, and well.
enrolled() {
  local id state
  id=$(docker-compose ps --quiet --all enrol)
  state=$(docker inspect --format '{{.State.Status}} {{.State.ExitCode}}' "${id}")
  [[ ${state} != "exited "[1-9]* ]] || die "enrolling failed: docker-compose logs enrol"
  [[ ${state} == "exited 0" ]]
}
stocked() { quietly "$1" test -e /var/lib/blindcart/shop/stocked; }
online() { docker-compose exec -T agent blindcart shops 2>/dev/null | grep "^$1 *online" >/dev/null; }
log_in() { quietly agent blindcart login --username alice --password-file /run/secrets/alice_password; }

build() {
  step "Building the images"
  if [[ ${prebuilt} != true ]]; then
    docker-compose build
    return
  fi
  export BLINDCART_PROGRAMS=prebuilt
  # Another run from here waits until the staged programs are in the images. Bazel leaves a server
  # behind, which must not hold the locks.
  local staging
  exec {staging}<"${PWD}"
  flock "${staging}"
  image/stage_programs.sh .programs {lock}>&- {staging}<&-
  docker-compose build
  rm -rf .programs
  exec {staging}<&-
}

start() {
  step "Making pass phrases and passwords"
  mkdir -p "${BLINDCART_SECRETS}"
  docker run --rm --network none --user 0:0 --volume "${BLINDCART_SECRETS}:/secrets" \
    "${OPERATOR_IMAGE}" /usr/local/lib/blindcart/make_secrets.sh /secrets
  step "Starting"
  docker-compose up --detach --no-build
  local service
  for service in postgres broker-1 broker-2 haproxy quiet-books night-records agent prometheus; do
    wait_until healthy "${service}"
  done
  wait_until enrolled
  wait_until stocked quiet-books
  wait_until stocked night-records
  docker-compose ps
}

# The broker that the agent's link goes to.
brokers_with_customers() {
  docker-compose exec -T haproxy http-get 8405 /metrics |
    sed -n 's/^haproxy_server_current_sessions{proxy="customers",server="\([^"]*\)"} [1-9].*/\1/p'
}
up_in_prometheus() {
  local up
  up=$(docker-compose exec -T prometheus promtool query instant http://127.0.0.1:9090 up) &&
    [[ $(grep --count '=> 1 ' <<<"${up}") == "$1" ]] && cut --delimiter=@ --fields=1 <<<"${up}"
}
all_up() { up_in_prometheus 3 >/dev/null; }

# TITLE
buy() {
  local id
  id=$(docker-compose exec -T agent blindcart search "$1" | sed -n '2s/ .*//p')
  [[ -n ${id} ]] || die "no shop has \"$1\""
  in_container agent blindcart buy "${id}" --account 1001 --pin-file /run/secrets/alice_pin --yes
}
# Everything that the broker keeps: its database, with binary columns in hexadecimal, and its logs.
broker_knows() {
  docker-compose exec -T postgres pg_dump --host=/tmp --inserts blindcart
  docker-compose logs --no-color broker-1 broker-2 haproxy postgres
}
shop_knows() {
  docker-compose exec -T quiet-books sh -c 'find /var/lib/blindcart -type f -exec cat {} +'
  docker-compose logs --no-color quiet-books
}
# WHO WHAT FILE EXPECTED: whether a text, or its bytes in hexadecimal, is in a file as it should be.
expect_found() {
  local hex found=no
  hex=$(printf '%s' "$2" | od -A n -t x1 | tr -d ' \n')
  if grep --quiet --text --ignore-case --fixed-strings -e "$2" -e "${hex}" "$3"; then found=yes; fi
  printf '  %-10s has "%s": %s\n' "$1" "$2" "${found}"
  [[ ${found} == "$4" ]] || die "that should be: $4"
}

show_views() {
  local title=$1
  step "What each party knows of it"
  in_container agent blindcart purchases
  in_container broker-1 broker list orders --data-dir broker
  in_container quiet-books merchant orders --data-dir shop
  echo
  views=$(mktemp -d)
  broker_knows >"${views}/broker"
  shop_knows >"${views}/shop"
  expect_found broker alice "${views}/broker" yes
  expect_found broker quiet-books "${views}/broker" yes
  expect_found broker "${title}" "${views}/broker" no
  expect_found shop "${title}" "${views}/shop" yes
  expect_found shop alice "${views}/shop" no
  rm -r "${views}"
}

shop_and_kill() {
  step "Buying"
  wait_until log_in
  wait_until online quiet-books
  in_container agent blindcart browse quiet-books
  buy "Leaving a faith"
  show_views "Leaving a faith, keeping a family"

  step "Prometheus sees both brokers and HAProxy"
  wait_until all_up
  up_in_prometheus 3

  local victim
  victim=$(brokers_with_customers | sed -n 1p)
  [[ -n ${victim} ]] || die "HAProxy knows of no customer"
  step "Killing ${victim}, where alice is, and buying again"
  docker-compose kill -s SIGKILL "${victim}"
  wait_until online quiet-books
  buy "Know your rights"
  [[ $(brokers_with_customers) != *"${victim}"* ]] || die "HAProxy still sends customers to ${victim}"
  in_container agent blindcart balance

  step "Starting ${victim} again"
  docker-compose start "${victim}"
  wait_until healthy "${victim}"
  wait_until all_up
  in_container "${victim}" broker audit --data-dir broker
}

clean() {
  docker-compose down --volumes --remove-orphans --timeout 20
  if [[ -d ${BLINDCART_SECRETS} ]] && docker image inspect "${OPERATOR_IMAGE}" >/dev/null 2>&1; then
    docker run --rm --network none --user 0:0 --volume "${BLINDCART_SECRETS}:/secrets" \
      "${OPERATOR_IMAGE}" find /secrets -mindepth 1 -delete
    rmdir "${BLINDCART_SECRETS}"
  fi
}

on_exit() {
  local status=$?
  trap - EXIT
  trap '' INT TERM
  # Copies of all that the broker and a shop know.
  [[ -z ${views:-} ]] || rm -rf "${views}"
  if ((status != 0)); then
    step "It ended with ${status}; the last lines of the logs"
    docker-compose logs --no-color --tail 15 || true
  elif [[ ${keep} == true ]]; then
    exit 0
  fi
  step "Cleaning up"
  clean || status=1
  exit "${status}"
}

main() {
  keep=false prebuilt=false
  local only_clean=false argument
  for argument in "$@"; do
    case "${argument}" in
      --keep) keep=true ;;
      --prebuilt) prebuilt=true ;;
      --clean) only_clean=true ;;
      -h | --help) usage; exit 0 ;;
      *) usage >&2; echo "demo.sh: unknown argument: ${argument}" >&2; exit 2 ;;
    esac
  done
  check_tools
  take_lock
  check_project
  if [[ ${only_clean} == true ]]; then
    clean
    return
  fi
  [[ -z $(docker-compose ps --quiet) ]] ||
    already_there "a market is running already. Remove it with: deploy/demo.sh --clean"
  trap on_exit EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  build
  start
  shop_and_kill
  if [[ ${keep} == true ]]; then
    step "Left running. Try"
    cat <<TRY
  export COMPOSE_PROJECT_NAME=${COMPOSE_PROJECT_NAME} COMPOSE_FILE=${COMPOSE_FILE} BLINDCART_SECRETS=${BLINDCART_SECRETS}
  docker-compose exec agent blindcart browse night-records
  docker-compose exec prometheus promtool query instant http://127.0.0.1:9090 up
  docker-compose logs --follow haproxy
and remove it with: deploy/demo.sh --clean
TRY
  else
    step "Done"
  fi
}

main "$@"
