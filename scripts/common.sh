# Shared by ./quickstart and ./test. Sourced, not run.

export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${CAIRN_CACHE:-$HOME/.cache/cairn}/target}"

step() { printf '\n\033[1m== %s\033[0m\n' "$*" >&2; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Debian packages, installed when root, else named.
install_system_packages() {
  local missing=()
  command -v protoc >/dev/null || missing+=(protobuf-compiler) # LanceDB's build needs it
  command -v cc >/dev/null || missing+=(gcc libc6-dev)
  command -v dpkg-deb >/dev/null || missing+=(dpkg)
  command -v node >/dev/null || missing+=(nodejs) # the studio's build
  command -v npm >/dev/null || missing+=(npm)
  if [ "$#" -gt 0 ]; then
    local package
    for package in "$@"; do dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package"); done
  fi
  command -v cargo >/dev/null || fail "cargo is missing; install Rust with rustup (https://rustup.rs)"
  command -v python3 >/dev/null || fail "python3 is missing; install it: apt-get install python3"
  [ ${#missing[@]} -eq 0 ] && { node_is_new_enough; return; }
  if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    step "installing ${missing[*]} with apt-get"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}"
    node_is_new_enough
  else
    fail "these packages are missing; run: sudo apt-get install ${missing[*]}"
  fi
}

node_is_new_enough() {
  node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' \
    || fail "node $(node --version) is too old to build the studio; install Node.js 20.19 or later (https://nodejs.org)"
}

# The whole workspace at once, always: cargo then settles on one set of features, and nothing is built twice.
build_cairn() {
  step "building (the first time takes about 40 minutes on two cores, afterwards seconds)"
  cargo build --workspace --bins
}

cairn() { "$CARGO_TARGET_DIR/debug/cairn" "$@"; }

# Dictionaries as Debian packages them, unpacked but not installed: FOLDOC and the Jargon File, or those that are named.
fetch_dictionaries() { # directory [name…]
  local into=$1 name work
  shift
  [ "$#" -gt 0 ] || set -- foldoc jargon
  for name in "$@"; do
    [ -e "$into/$name.index" ] && [ -e "$into/$name.dict.dz" ] && continue
    step "fetching the Debian package dict-$name"
    mkdir -p "$into"
    work=$(mktemp -d)
    (cd "$work" && { apt-get download -qq "dict-$name" || { [ "$(id -u)" -eq 0 ] && apt-get update -qq && apt-get download -qq "dict-$name"; }; }) \
      || fail "dict-$name cannot be downloaded; apt-get update may be needed first"
    dpkg-deb -x "$work"/dict-"$name"_*.deb "$work/unpacked"
    cp "$work/unpacked/usr/share/dictd/$name.dict.dz" "$into/$name.dict.dz"
    cp "$work/unpacked/usr/share/dictd/$name.index" "$into/$name.index"
    rm -r "$work"
  done
}

# Starts the gateway and waits until it is ready; sets $server (its pid) and $url.
serve_in_background() {
  url="http://${CAIRN__SERVER__LISTEN:-127.0.0.1:8080}"
  step "starting the gateway (its log: .cairn/serve.log)"
  "$CARGO_TARGET_DIR/debug/cairn" serve 2>>.cairn/serve.log &
  server=$!
  local tries=0
  until python3 -c "import urllib.request as u; u.urlopen('$url/readyz', timeout=2)" 2>/dev/null; do
    kill -0 "$server" 2>/dev/null || { tail -n 5 .cairn/serve.log >&2; fail "the gateway did not start"; }
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || fail "the gateway is not ready after 5 minutes; see .cairn/serve.log"
    sleep 1
  done
}

stop_server() {
  [ -n "${server:-}" ] || return 0
  kill "$server" 2>/dev/null || true
  wait "$server" 2>/dev/null || true
  server=
}
