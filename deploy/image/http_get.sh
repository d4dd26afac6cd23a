#!/bin/bash
# Usage: http-get PORT PATH
# Prints what http://127.0.0.1:PORT/PATH answers. Exits with 0 when that is a 200. For health checks,
# in images without an HTTP client.
set -euo pipefail
(($# == 2)) || { echo "usage: http-get PORT PATH" >&2; exit 2; }
exec 3<>"/dev/tcp/127.0.0.1/$1"
printf 'GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n' "$2" >&3
read -r -t 4 _ status _ <&3
while IFS= read -r -t 4 line <&3 && [[ ${line} != $'\r' ]]; do :; done
cat <&3
[[ ${status} == 200 ]]
