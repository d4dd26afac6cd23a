#!/bin/bash
# Usage: serve_agent.sh NAME
# A customer's agent in a container: made at the first start, then served. The operator's card comes in
# from /handover/operator, the customer's identity goes out to /handover/NAME.
set -euo pipefail
umask 077
(($# == 1)) || { echo "usage: serve_agent.sh NAME" >&2; exit 2; }
readonly AGENT=/var/lib/blindcart/agent

# Not the card's addresses, one for each broker, but the one behind which HAProxy chooses.
if [[ ! -e ${AGENT}/agent.textproto ]]; then
  rm -rf "${AGENT}"
  agent init --data-dir "${AGENT}" --passphrase-file /run/secrets/passphrase \
    --broker-card /handover/operator/broker.card --broker-address haproxy:7443
fi
install -m 0644 "${AGENT}/customer.identity" "/handover/$1/customer.identity"
exec agent serve --data-dir "${AGENT}" --passphrase-file /run/secrets/passphrase
