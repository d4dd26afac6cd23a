#!/bin/bash
# What the operator does with the identities that shops and customers hand over: enrols them. Does
# nothing for who is enrolled.
set -euo pipefail
readonly BROKER=/operator/broker-1/broker

# Of a party and its file; containers start side by side.
wait_for() {
  local waited=0
  until [[ -s $1 ]]; do
    ((++waited <= 120)) || { echo "$1 does not come" >&2; exit 1; }
    sleep 1
  done
}
# KIND NAME
enrolled() {
  broker list "$1" --data-dir "${BROKER}" | grep --word-regexp -- "$2" >/dev/null
}

add_shop() {
  local identity="/handover/$1/merchant.identity"
  wait_for "${identity}"
  enrolled merchants "$1" || broker add-merchant --data-dir "${BROKER}" --name "$1" \
    --identity "${identity}" --account "$2"
}

add_shop quiet-books 2001
add_shop night-records 2002
wait_for "/handover/alice/customer.identity"
enrolled customers alice || broker add-customer --data-dir "${BROKER}" --username alice \
  --identity "/handover/alice/customer.identity" --account 1001 --balance 100.00 \
  --password-file /run/secrets/alice_password --pin-file /run/secrets/alice_pin
