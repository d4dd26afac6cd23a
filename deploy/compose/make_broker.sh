#!/bin/bash
# What the operator does once: makes the broker over the empty database, a folder for each of the two
# processes that serve it, what HAProxy needs, and the card for customers and merchants. Does nothing
# when it has been done.
set -euo pipefail
umask 077
readonly HERE=/operator CARD=/handover/operator/broker.card
readonly DATABASE="postgres/blindcart?sslrootcert=/run/secrets/database_certificate"
readonly OWNER="postgres://blindcart_owner@${DATABASE}&passfile=/run/secrets/owner_pgpass"
readonly SERVING="postgres://blindcart_broker@${DATABASE}&passfile=/run/secrets/broker_pgpass"

[[ ! -e ${CARD} ]] || { echo "the broker is there already"; exit 0; }
# What a failed attempt left, before there was a card.
rm -rf "${HERE}"/broker-{1,2}/* "${HERE}"/edge/*

broker init --data-dir "${HERE}/broker-1/broker" --listen 0.0.0.0:7443 --address haproxy:7451 \
  --store "${OWNER}" --passphrase-file /run/secrets/broker_passphrase
psql --quiet --set=ON_ERROR_STOP=1 --file=/usr/local/share/blindcart/grants.sql "${OWNER}"

# Field VALUE: sets a field that `broker init` wrote, which must be there.
set_field() {
  local file="${HERE}/broker-1/broker/broker.textproto"
  grep --quiet "^ *$1: " "${file}" || { echo "broker.textproto has no $1" >&2; exit 1; }
  sed --in-place "s|^\( *\)$1: .*|\1$1: ${2//&/\\&}|" "${file}"
}
set_field url "\"${SERVING}\""
set_field behind_proxy true
set_field metrics_listen '"0.0.0.0:9464"'
broker join --from "${HERE}/broker-1/broker" --data-dir "${HERE}/broker-2/broker" \
  --listen 0.0.0.0:7443 --address haproxy:7452

# HAProxy shows the first broker's certificate, which the card names with the second one's.
cat "${HERE}"/broker-1/broker/tls/{certificate,private_key}.pem >"${HERE}/edge/certificate.pem"
for number in 1 2; do
  cp "${HERE}/broker-${number}/broker/tls/certificate.pem" "${HERE}/edge/broker-${number}.pem"
done
# Public, and last: whoever waits for it may begin.
install -m 0644 "${HERE}/broker-1/broker/broker.card" "${CARD}.new"
mv "${CARD}.new" "${CARD}"
