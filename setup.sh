#!/usr/bin/env bash
# Installs what building Blindcart on Debian 12 needs, from Debian's own archive.
set -euo pipefail

readonly BUILD_PACKAGES=(
  bazel-bootstrap      # Bazel 4.2
  bazel-platforms
  bazel-rules-cc
  bazel-rules-java
  bazel-rules-proto
  g++
  git
  lld
  pkg-config
  python3
)
readonly LIBRARY_PACKAGES=(
  libabsl-dev
  libbenchmark-dev
  libcli11-dev
  libfmt-dev
  libgmock-dev
  libgrpc++-dev
  libgtest-dev
  libpq-dev
  libprotobuf-dev
  libsodium-dev
  libspdlog-dev
  libsqlite3-dev
  libssl-dev
  nlohmann-json3-dev
  prometheus-cpp-dev   # brings libcivetweb-dev, whose server answers on the metrics port
  protobuf-compiler
  protobuf-compiler-grpc
  zlib1g-dev
)
readonly CHECK_PACKAGES=(
  clang                # fuzzers
  clang-format
  clang-tidy
  libclang-rt-dev      # libFuzzer and the sanitizers' run-time for clang
  systemd              # systemd-analyze, which judges the unit files
)
readonly SERVER_PACKAGES=(
  haproxy              # servers, of which tests start one of their own
  postgresql
)
readonly DEPLOY_PACKAGES=(
  debootstrap
  docker-compose
  docker.io
)
PACKAGES=("${BUILD_PACKAGES[@]}" "${LIBRARY_PACKAGES[@]}" "${CHECK_PACKAGES[@]}"
  "${SERVER_PACKAGES[@]}")
# Debian's postgresql makes and starts a cluster when it is installed; this keeps it from that.
readonly CLUSTER_SETTINGS=/etc/postgresql-common/createcluster.d/blindcart.conf

usage() {
  cat <<USAGE
Usage: ./setup.sh [--with-deploy] [--check] | --help

Installs the Debian packages that building and testing Blindcart needs. Changes nothing when all
of them are there. Run it as root, or as a user who may use sudo.

  --with-deploy  also those for deploy/test.sh, which runs a market in containers
  --check        only says what is missing; exit status 1 if anything is
  --help         this text

Packages: ${PACKAGES[*]}
With --with-deploy also: ${DEPLOY_PACKAGES[*]}
USAGE
}

die() {
  echo "setup.sh: $*" >&2
  exit 1
}

missing_packages() {
  local package status
  for package in "${PACKAGES[@]}"; do
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "${package}" 2>/dev/null || true)
    if [[ ${status} != installed ]]; then
      echo "${package}"
    fi
  done
}

main() {
  local check_only=false argument
  for argument in "$@"; do
    case "${argument}" in
      --with-deploy) PACKAGES+=("${DEPLOY_PACKAGES[@]}") ;;
      --check) check_only=true ;;
      -h | --help) usage; exit 0 ;;
      *) usage >&2; die "unknown argument: ${argument}" ;;
    esac
  done

  local tool
  for tool in apt-get dpkg-query; do
    command -v "${tool}" >/dev/null || die "needs Debian (there is no ${tool}); tested on Debian 12"
  done

  local missing
  mapfile -t missing < <(missing_packages)
  if ((${#missing[@]} == 0)); then
    echo "setup.sh: all ${#PACKAGES[@]} packages are installed; nothing to do."
    return
  fi
  echo "setup.sh: missing: ${missing[*]}"
  if [[ ${check_only} == true ]]; then
    exit 1
  fi

  local as_root=()
  if ((EUID != 0)); then
    command -v sudo >/dev/null || die "not root, and there is no sudo: run it as root"
    as_root=(sudo)
  fi
  as_root+=(env DEBIAN_FRONTEND=noninteractive)

  echo "setup.sh: updating the list of packages"
  "${as_root[@]}" apt-get update --quiet ||
    die "apt-get update failed: check the network and /etc/apt/sources.list"
  if [[ " ${missing[*]} " == *" postgresql "* && ! -e ${CLUSTER_SETTINGS} ]]; then
    "${as_root[@]}" mkdir -p "$(dirname "${CLUSTER_SETTINGS}")"
    echo "create_main_cluster = false" | "${as_root[@]}" tee "${CLUSTER_SETTINGS}" >/dev/null
  fi
  echo "setup.sh: installing ${#missing[@]} packages"
  "${as_root[@]}" apt-get install --yes --quiet --no-install-recommends "${missing[@]}" ||
    die "apt-get could not install them; Debian 12 (bookworm) has all of them in its main archive"

  # Debian starts it at once, and at every boot.
  if [[ " ${missing[*]} " == *" haproxy "* ]]; then
    "${as_root[@]}" update-rc.d haproxy disable || true
    "${as_root[@]}" service haproxy stop || true
  fi

  mapfile -t missing < <(missing_packages)
  ((${#missing[@]} == 0)) || die "still missing: ${missing[*]}"
  echo "setup.sh: done. Next: bazel test //..."
}

main "$@" </dev/null
