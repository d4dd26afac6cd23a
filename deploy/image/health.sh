#!/bin/bash
# Usage: blindcart-health
# Whether what runs in this container is well: a broker, a merchant or an agent, as its folder tells.
set -euo pipefail
cd /var/lib/blindcart
if [[ -d broker ]]; then
  http-get 9464 /readyz
elif [[ -d shop ]]; then
  merchant status --data-dir shop
else
  blindcart status
fi
