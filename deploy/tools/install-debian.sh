#!/usr/bin/env bash
# Makes sure that the programs from Debian's packages are there that tests run: Chromium (or the one named by CHROMIUM), sshd,
# gpg, ssh-keygen and openssl. Usage: install-debian.sh [browser]
set -euo pipefail
missing=()
have() { [[ -x "$1" ]] || missing+=("${@:2}"); }
have "${CHROMIUM:-/usr/bin/chromium}" chromium fonts-dejavu-core
if [[ "${1:-}" != browser ]]; then
  have /usr/sbin/sshd openssh-server
  have /usr/bin/ssh-keygen openssh-client
  have /usr/bin/openssl openssl
  have /usr/bin/gpg gnupg
fi
if [[ ${#missing[@]} == 0 ]]; then exit 0; fi
command -v apt-get >/dev/null || { echo "error: install ${missing[*]} (Chromium: set CHROMIUM to its path)" >&2; exit 1; }
sudo=()
if [[ "$(id -u)" != 0 ]]; then sudo=(sudo); fi
echo "packages: installing Debian's ${missing[*]} ..."
"${sudo[@]}" apt-get update -qq
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
