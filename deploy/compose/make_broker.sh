#!/bin/bash
# What the operator does once: makes the broker over the empty database and a folder for each of the two
# processes that serve it. Then, at every start, publishes what lies in other volumes and may be gone
# from there: what HAProxy needs, and the card for customers and merchants. A finished folder has the
# only keys; it is never touched.
set -euo pipefail
umask 077
readonly FIRST=/operator/broker-1/broker SECOND=/operator/broker-2/broker EDGE=/operator/edge
readonly DATABASE="postgres/blindcart?sslmode=verify-full&sslrootcert=/run/secrets/database_certificate"
readonly OWNER="postgres://blindcart_owner@${DATABASE}&passfile=/run/secrets/owner_pgpass"
readonly SERVING="postgres://blindcart_broker@${DATABASE}&passfile=/run/secrets/broker_pgpass"

# FOLDER FIELD VALUE: sets a field that `broker init` wrote, which must be there.
set_field() {
  local file="$1/broker.textproto"
  grep --quiet "^ *$2: " "${file}" || { echo "broker.textproto has no $2" >&2; exit 1; }
  sed --in-place "s|^\( *\)$2: .*|\1$2: ${3//&/\\&}|" "${file}"
}

# Both folders under other names. Goes on where an earlier attempt ended: a folder with a configuration
# is whole.
make_folders() {
  if [[ ! -e $1/broker.textproto ]]; then
    rm -rf "$1"
    broker init --data-dir "$1" --listen 0.0.0.0:7443 --address haproxy:7451 \
      --store "${OWNER}" --passphrase-file /run/secrets/broker_passphrase
  fi
  psql --quiet --set=ON_ERROR_STOP=1 --file=/usr/local/share/blindcart/grants.sql "${OWNER}"
  set_field "$1" url "\"${SERVING}\""
  set_field "$1" behind_proxy true
  set_field "$1" metrics_listen '"0.0.0.0:9464"'
  if [[ ! -e $2/broker.textproto ]]; then
    rm -rf "$2"
    broker join --from "$1" --data-dir "$2" --listen 0.0.0.0:7443 --address haproxy:7452
  fi
}

# FILE: takes it from the standard input, whole or not at all.
publish() {
  cat >"$1.new"
  mv "$1.new" "$1"
}

if [[ ! -e ${FIRST} ]]; then
  [[ ! -e ${SECOND} ]] || { echo "broker-2 is there without broker-1: restore that, too" >&2; exit 1; }
  make_folders "${FIRST}.making" "${SECOND}.making"
  mv "${FIRST}.making" "${FIRST}"
fi
if [[ ! -e ${SECOND} ]]; then
  [[ -e ${SECOND}.making ]] || { echo "broker-1 is there without broker-2: restore that, too" >&2; exit 1; }
  mv "${SECOND}.making" "${SECOND}"
fi

# HAProxy shows the first broker's certificate, which the card names with the second one's.
cat "${FIRST}"/tls/{certificate,private_key}.pem | publish "${EDGE}/certificate.pem"
publish "${EDGE}/broker-1.pem" <"${FIRST}/tls/certificate.pem"
publish "${EDGE}/broker-2.pem" <"${SECOND}/tls/certificate.pem"
# Public, and last: whoever waits for it may begin.
umask 022
publish /handover/operator/broker.card <"${FIRST}/broker.card"
