#!/usr/bin/env bash
# Makes sure that a Chromium is there for the browser test: the one named by CHROMIUM, or Debian's.
set -euo pipefail
if [[ -x "${CHROMIUM:-/usr/bin/chromium}" ]]; then exit 0; fi
command -v apt-get >/dev/null || { echo "error: install Chromium and set CHROMIUM to its path" >&2; exit 1; }
sudo=()
if [[ "$(id -u)" != 0 ]]; then sudo=(sudo); fi
echo "browser: installing Debian's chromium ..."
"${sudo[@]}" apt-get update -qq
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null
