#!/bin/bash
# Usage: make_secrets.sh FOLDER
# Makes what deploy/docker-compose.yml hands to its containers as secrets: pass phrases, passwords and
# the database's TLS key. Keeps what is there already. Run it as root in the operator's image: the
# files have to belong to the containers' user, and no program takes a secret that others may read.
set -euo pipefail
umask 077
(($# == 1)) || { echo "usage: make_secrets.sh FOLDER" >&2; exit 2; }
mkdir -p "$1"
cd "$1"

random() { openssl rand -hex 16; }
# Whole or not at all: a file that is there is never written again.
keep() {
  [[ -s $1 ]] || { cat >"$1.new" && mv "$1.new" "$1"; }
}

for name in broker quiet_books night_records alice; do
  random | keep "${name}_passphrase"
done
random | keep alice_password
printf '%04d\n' "$((16#$(openssl rand -hex 3) % 10000))" | keep alice_pin
for user in owner broker; do
  echo "*:*:*:blindcart_${user}:$(random)" | keep "${user}_pgpass"
done
if [[ ! -s database_certificate ]]; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 \
    -subj /CN=postgres -addext subjectAltName=DNS:postgres \
    -keyout database_key -out database_certificate.new 2>/dev/null
  mv database_certificate.new database_certificate
fi
rm -f ./*.new
chmod 0400 ./*
chown --recursive 10001:10001 .
