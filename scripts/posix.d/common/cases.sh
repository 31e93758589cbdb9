# What the suites beside it share: one case after the other, each in a shell of its own that stops at the first failed command.
# Sourced, not run; no suite itself. A case is a function case_NAME of the suite; its last line on stderr is the detail of a failure.
# shellcheck shell=bash

# Runs the cases of a suite's file in the order in which they stand there, and writes their results to OUT.
run_cases() { # FILE DIR OUT SIZE
  local file=$1 dir=$2 out=$3 size=$4 name code said
  said=$(mktemp)
  : >"$out"
  for name in $(sed -n 's/^case_\([a-z0-9_]*\)() {.*/\1/p' "$file"); do
    code=0
    mkdir -p "$dir/$name"
    # A fresh shell: in one that somebody asks for its status, errors would not stop it. Deadlines are for what hangs, never a measure.
    env -C "$dir/$name" LC_ALL=C.UTF-8 TZ=UTC timeout --kill-after=30 "${CASE_SECONDS:-900}" \
      "$BASH" -euo pipefail -c '. "$0/common/cases.sh"; . "$1"; size=$2; work=$PWD; "case_$3"' \
      "$(dirname "$file")" "$file" "$size" "$name" </dev/null >"$said" 2>&1 || code=$?
    case $code in
      0) echo "$name ok" ;;
      77) echo "$name skip $(last_line "$said")" ;;
      124 | 137) echo "$name fail did not end in time: $(last_line "$said")" ;;
      *) echo "$name fail $code: $(last_line "$said")" ;;
    esac >>"$out"
    [ "$code" = 0 ] || [ -z "${CASE_LOG:-}" ] || { echo "--- $name ($dir)" && cat "$said"; } >>"$CASE_LOG"
  done
  rm -f "$said"
}

last_line() { tr -d '\r' <"$1" | grep -v '^[[:space:]]*$' | tail -n 1 | cut -c 1-200; }

wrong() {
  echo "$*" >&2
  exit 1
}
skip() {
  echo "$*" >&2
  exit 77
}

# The same, or the case fails and shows both.
same() { # WHAT EXPECTED GOT
  [ "$2" = "$3" ] || wrong "$1: expected '$2', got '$3'"
}

# Must fail, with this text in what it says.
fails_with() { # TEXT COMMAND...
  local text=$1 said
  shift
  if said=$("$@" 2>&1); then wrong "$* should have failed"; fi
  case $said in *"$text"*) ;; *) wrong "$* should say '$text': $said" ;; esac
}

# Waits for what must come. The end is only for what never comes.
until_true() { # COMMAND...
  local n=0
  until "$@" 2>/dev/null; do
    n=$((n + 1))
    [ $n -lt 1200 ] || wrong "waited in vain: $*"
    sleep 0.05
  done
}

# Everything about a tree but what differs by nature (device, inode numbers, sizes of directories, ctime, times of what is neither file nor directory): a line for each name.
tree_facts() { # DIR
  (cd "$1" && find . \( -type d -printf '%P %y %m %U %G %T@\n' \) -o \( ! -type f -printf '%P %y %m %U %G %l\n' \) -o -printf '%P %y %m %U %G %n %s %l %T@\n' | sort)
}
tree_sums() { # DIR
  (cd "$1" && find . -type f -print0 | sort -z | xargs -0r sha256sum)
}

# Debian packages, when something is missing. 77 when they cannot be had.
debian() { # SUITE PACKAGE...
  local suite=$1 missing=() p
  shift
  for p in "$@"; do
    dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
  { "${apt[@]}" install -y --no-install-recommends "${missing[@]}" \
    || { "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "${missing[@]}"; }; } >/dev/null 2>&1 && return 0
  echo "$suite: could not get Debian's ${missing[*]}"
  return 77
}
