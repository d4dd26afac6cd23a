#!/bin/bash
# Serves PostgreSQL in a container. At the first start it makes the cluster, the database "blindcart"
# and its two users (docs/storage.md). Secrets, in /run/secrets: database_{key,certificate}, and
# {owner,broker}_pgpass, whose last field is the user's password.
set -euo pipefail
umask 077
readonly DATA=/var/lib/blindcart/postgres
readonly SETTINGS=(
  -c listen_addresses='*' -c unix_socket_directories=/tmp -c hba_file=/etc/blindcart/pg_hba.conf
  -c ssl=on -c ssl_min_protocol_version=TLSv1.3
  -c ssl_cert_file=/run/secrets/database_certificate -c ssl_key_file=/run/secrets/database_key
  # No statement, with the names that are in it, reaches a log.
  -c log_min_error_statement=panic -c log_statement=none
)
PATH=$(echo /usr/lib/postgresql/*/bin):${PATH}

password_of() { cut -d: -f5 "/run/secrets/$1_pgpass"; }

make_cluster() {
  # Its socket lies where nobody looks for it before the cluster is whole.
  rm -rf "${DATA}.new" /tmp/making
  mkdir /tmp/making
  initdb --pgdata="${DATA}.new" --username=blindcart --encoding=UTF8 --locale=C.UTF-8 \
    --auth=peer >/dev/null
  pg_ctl --pgdata="${DATA}.new" --silent --wait \
    --options="-c listen_addresses='' -c unix_socket_directories=/tmp/making -c log_min_error_statement=panic" \
    start
  # By standard input, and not by arguments, which others can list. The passwords are hexadecimal.
  psql --quiet --host=/tmp/making --username=blindcart --dbname=postgres --set=ON_ERROR_STOP=1 <<SQL
CREATE ROLE blindcart_owner LOGIN PASSWORD '$(password_of owner)';
CREATE ROLE blindcart_broker LOGIN PASSWORD '$(password_of broker)';
CREATE DATABASE blindcart OWNER blindcart_owner ENCODING 'UTF8' TEMPLATE template0;
REVOKE ALL ON DATABASE blindcart FROM PUBLIC;
GRANT CONNECT ON DATABASE blindcart TO blindcart_broker;
SQL
  pg_ctl --pgdata="${DATA}.new" --silent --wait --mode=fast stop
  # Last, so that a cluster that is there is whole.
  mv "${DATA}.new" "${DATA}"
}

[[ -s ${DATA}/PG_VERSION ]] || make_cluster
exec postgres -D "${DATA}" "${SETTINGS[@]}"
