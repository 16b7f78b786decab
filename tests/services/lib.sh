# shellcheck shell=bash disable=SC2034
# Shared by the service scripts beside this file: sourced, never run.
#
# Every service keeps its data, pid and log under $LAB_DIR/SERVICE, so two labs with two LAB_DIRs (and other
# ports) live side by side. Nothing is stopped by name: only a pid that this lab wrote down, and only while
# /proc still shows the command that was started under it.
set -euo pipefail

LAB_DIR=${LAB_DIR:-/tmp/bayeux-gateway-lab}
LAB_HOST=127.0.0.1
SERVICES=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$LAB_DIR"
LAB_DIR=$(cd "$LAB_DIR" && pwd)

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }
now_ms() { date +%s%3N; }

# need COMMAND PACKAGE...: installs the Debian packages if COMMAND is missing.
need() {
  local command=$1; shift
  PATH=$PATH:/usr/sbin:/sbin command -v "$command" >/dev/null && return
  local sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
  say "installing $* (for $command)"
  ( # one apt at a time; its lists first, since a fresh machine has none
    flock 9
    $sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
      $sudo apt-get install -y -qq --no-install-recommends "$@" ) 9>"$LAB_DIR/apt.lock" >"$LAB_DIR/apt.log" 2>&1 ||
    die "apt-get install $* failed, see $LAB_DIR/apt.log"
}

# where COMMAND: its path, /usr/sbin included.
where() { PATH=$PATH:/usr/sbin:/sbin command -v "$1"; }

port_open() { (exec 3<>"/dev/tcp/$LAB_HOST/$1") 2>/dev/null; }

# pid NAME: prints the pid of the running NAME, or fails. The pid file holds the pid and the time that the
# kernel started that process at, so that a reused pid is never mistaken for ours.
pid() {
  local id started
  read -r id started 2>/dev/null <"$LAB_DIR/$1/pid" || return 1
  [ "$started" = "$(born "$id")" ] && echo "$id"
}
born() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | awk '$1 != "Z" { print $20 }'; }

# launch NAME COMMAND...: runs COMMAND detached, its output in $LAB_DIR/NAME/log.
launch() {
  local name=$1; shift
  mkdir -p "$LAB_DIR/$name"
  setsid "$@" >"$LAB_DIR/$name/log" 2>&1 </dev/null 9>&- &
  echo "$! $(born $!)" >"$LAB_DIR/$name/pid"
}

# await NAME SECONDS CHECK...: until CHECK succeeds; fails at once if NAME has died.
await() {
  local name=$1 limit=$(($(now_ms) + $2 * 1000)); shift 2
  until "$@" >/dev/null 2>&1; do
    pid "$name" >/dev/null || { tail -n 20 "$LAB_DIR/$name/log" >&2; die "$name died while starting"; }
    [ "$(now_ms)" -lt "$limit" ] || { tail -n 20 "$LAB_DIR/$name/log" >&2; die "$name is not ready"; }
    sleep 0.1
  done
}

# halt NAME [SECONDS]: TERM, then KILL if it is still there after SECONDS (default 10).
halt() {
  local id limit; id=$(pid "$1") || { rm -f "$LAB_DIR/$1/pid"; return 0; }
  limit=$(($(now_ms) + ${2:-10} * 1000))
  kill -CONT "$id" 2>/dev/null || true # a paused process does not see TERM
  kill -TERM "$id" 2>/dev/null || true
  while pid "$1" >/dev/null; do
    [ "$(now_ms)" -lt "$limit" ] || kill -KILL "$id" 2>/dev/null || true
    sleep 0.1
  done
  rm -f "$LAB_DIR/$1/pid"
}

# signal NAME SIGNAL: for fault tests (KILL, STOP, CONT).
signal() {
  local id; id=$(pid "$1") || die "$1 is not running"
  kill "-$2" "$id"
  say "$1 pid=$id $2"
}

# report NAME ADDRESS: one line for status; fails if NAME is not running.
report() {
  local id; id=$(pid "$1") || { echo "$1 stopped"; return 1; }
  awk -v name="$1" -v id="$id" -v at="$2" '/^VmRSS/ { rss = $2 } /^State/ { state = $2 }
    END { printf "%s %s pid=%s %s rss=%.0fMiB\n", name, state == "T" ? "paused" : "running", id, at, rss / 1024 }' \
    "/proc/$id/status"
}
