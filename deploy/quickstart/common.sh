# Shared by up and down: where things are, and how to say what is going on.
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../.." && pwd)"
state="${TAKO_STATE:-${XDG_STATE_HOME:-$HOME/.local/state}/takobune/up}"

say() { printf '%6s s  %s\n' "$SECONDS" "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
need() { command -v "$1" >/dev/null || die "$1 is missing; $2"; }

# alive NAME: the process of that name runs and is the one that was started here
alive() {
  local pid
  pid="$(cat "$state/pids/$1" 2>/dev/null)" || return 1
  tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF -- "$state"
}

# start NAME PROGRAM ARGS...: in a session of its own, its output in a log
start() {
  local name=$1
  shift
  mkdir -p "$state/pids" "$state/logs"
  setsid "$@" >>"$state/logs/$name.log" 2>&1 </dev/null &
  echo $! >"$state/pids/$name"
}

# stop NAME: asks, waits, insists
stop() {
  local name=$1 pid
  if alive "$name"; then
    pid="$(cat "$state/pids/$name")"
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 100); do alive "$name" || break; sleep 0.1; done
    if alive "$name"; then kill -KILL "$pid" 2>/dev/null || true; fi
  fi
  rm -f "$state/pids/$name"
}
