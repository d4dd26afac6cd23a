#!/bin/bash
# Usage: serve_shop.sh NAME
# A shop in a container: made at the first start, filled with its example goods, then served. The
# operator's card comes in from /handover/operator, the shop's identity goes out to /handover/NAME.
set -euo pipefail
umask 077
(($# == 1)) || { echo "usage: serve_shop.sh NAME" >&2; exit 2; }
readonly NAME=$1 SHOP=/var/lib/blindcart/shop
readonly GOODS="/usr/local/share/blindcart/shops/$1.tsv"

if [[ ! -e ${SHOP}/merchant.textproto ]]; then
  rm -rf "${SHOP}"
  merchant init --data-dir "${SHOP}" --name "${NAME}" --passphrase-file /run/secrets/passphrase \
    --broker-card /handover/operator/broker.card
fi
install -m 0644 "${SHOP}/merchant.identity" "/handover/${NAME}/merchant.identity"

# Each line of the list: title, price, format, size in bytes, description. The goods are a readable
# heading and then bytes that do not compress.
stock() {
  local title price format size description file
  until merchant status --data-dir "${SHOP}" >/dev/null 2>&1; do sleep 0.2; done
  while IFS=$'\t' read -r title price format size description; do
    file=$(mktemp "/tmp/goods-XXXXXX.${format}")
    printf '%s\n\n%s\n\n' "${title}" "${description}" >"${file}"
    head -c "${size}" /dev/urandom >>"${file}"
    merchant add-product --data-dir "${SHOP}" --title "${title}" --price "${price}" \
      --description "${description}" --file "${file}"
    rm "${file}"
  done <"${GOODS}"
  touch "${SHOP}/stocked"
}

[[ -e ${SHOP}/stocked ]] || stock &
exec merchant serve --data-dir "${SHOP}" --passphrase-file /run/secrets/passphrase
