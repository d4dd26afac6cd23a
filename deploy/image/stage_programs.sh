#!/usr/bin/env bash
# Builds the programs and puts them into a folder, for an image to be made of them:
#   FOLDER/bin/       broker, merchant, agent, blindcart
#   FOLDER/packages   the Debian packages that their libraries come from, one a line
# Bazel takes further options from BAZEL_STARTUP_FLAGS and BAZEL_OPTIONS.
set -euo pipefail
(($# == 1)) || { echo "usage: stage_programs.sh FOLDER" >&2; exit 2; }
mkdir -p "$1/bin"
folder=$(realpath "$1")
cd "$(dirname "$0")/../.."

read -ra startup <<<"${BAZEL_STARTUP_FLAGS:-}"
read -ra options <<<"${BAZEL_OPTIONS:-}"
readonly TARGETS=(//services/broker //services/merchant //services/agent //clients/cli:blindcart)
bazel "${startup[@]}" build --symlink_prefix=/ --curses=no "${options[@]}" "${TARGETS[@]}"
bin=$(bazel "${startup[@]}" info "${options[@]}" bazel-bin)
install -m 0755 -t "${folder}/bin" "${bin}"/services/{broker/broker,merchant/merchant,agent/agent} \
  "${bin}/clients/cli/blindcart"

# dpkg knows files by the path that the package has, which may be without the /usr of today.
package_of() {
  local name
  for name in "$1" "${1#/usr}"; do
    if dpkg-query --search "${name}" 2>/dev/null | cut -d: -f1 | head -1 | grep .; then
      return
    fi
  done
  echo "stage_programs.sh: no package has $1" >&2
  return 1
}
ldd "${folder}"/bin/* | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p' | sort -u |
  while read -r library; do package_of "$(realpath "${library}")"; done | sort -u \
  >"${folder}/packages.new"
[[ -s ${folder}/packages.new ]]
mv "${folder}/packages.new" "${folder}/packages"
