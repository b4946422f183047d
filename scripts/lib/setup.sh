# SPDX-License-Identifier: Apache-2.0
# Sourced by the scripts in scripts/: installs what xdplb needs on a fresh Debian 12, and skips what is there already.
#
#   source "$(dirname "${BASH_SOURCE[0]}")/lib/setup.sh"
#   setup demo      # what is needed to run xdplb
#   setup cluster   # also what runs beside it in a lab of several balancers
#   setup dev       # also what is needed to check and test it
#   setup_debian package    # the Debian packages that scripts/package needs to build one, and no venv
#   setup_debian forward    # what scripts/bench forward needs besides
#   setup_debian transfers  # what scripts/soak --transfers needs besides
#
# Afterwards XDPLB_ROOT is the repository, XDPLB_BIN the bin folder of its venv, and XDPLB_SETUP_SECONDS the time taken.
# If there is nothing to do, it takes some tens of milliseconds and needs neither root nor a network.

XDPLB_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
XDPLB_BIN=$XDPLB_ROOT/.venv/bin
export XDPLB_ROOT XDPLB_BIN

# Debian's own Python, whatever `python3` is on the PATH: Debian packages bcc's bindings for this one only.
readonly SETUP_PYTHON=/usr/bin/python3

setup_say() { printf 'setup: %s\n' "$*" >&2; }

setup_fail() {
	printf 'setup failed: %s\n' "$*" >&2
	return 1
}

# A file that keeps packages from starting their services when they are installed, the mark of one made here, and the
# services of the packages below.
SETUP_POLICY=/usr/sbin/policy-rc.d
readonly SETUP_SERVICES='frr bird etcd keepalived named knot nginx haproxy prometheus prometheus-alertmanager nftables iperf3'
readonly SETUP_POLICY_MARK='# made by set-up of xdplb while it installs packages; remove it if no set-up runs'

# The Debian packages for a purpose (demo, cluster, dev, package, forward or transfers), one per line.
setup_packages() {
	local architecture
	architecture=$(dpkg --print-architecture)
	if [[ $1 == package ]]; then
		printf '%s\n' build-essential ca-certificates debhelper python3 python3-venv
		return
	fi
	case $1 in
	forward)
		printf 'nftables\n'
		return
		;;
	transfers)
		printf 'iperf3\n'
		return
		;;
	esac
	printf '%s\n' python3 python3-venv python3-bpfcc gcc libbpf1 "linux-headers-$architecture" \
		ca-certificates curl ethtool iproute2 procps
	if [[ $1 != demo ]]; then
		printf '%s\n' frr bird2 etcd-server etcd-client iputils-ping
	fi
	if [[ $1 == dev ]]; then
		printf '%s\n' clang-format tcpdump keepalived bind9 bind9-dnsutils bind9-utils jq knot nginx-light haproxy \
			prometheus prometheus-alertmanager chromium
		# Somebody else's Node.js, such as one of a newer release, does as well as Debian's.
		command -v node >/dev/null || printf 'nodejs\n'
		command -v npm >/dev/null || printf 'npm\n'
	fi
}

# Those of the given packages that are not installed, one per line.
setup_missing_packages() {
	local installed
	installed=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' "$@" 2>/dev/null || true)
	local package
	for package in "$@"; do
		grep -qx "installed $package" <<<"$installed" || printf '%s\n' "$package"
	done
}

setup_debian() {
	if ! command -v dpkg-query >/dev/null || ! grep -Eqs '^ID(_LIKE)?=.*debian' /etc/os-release; then
		setup_fail "only Debian 12 and its derivatives are supported; on other systems install bcc's Python bindings," \
			"libbpf, kernel headers, curl, ethtool and iproute2 by hand, then xdplb with pip into .venv"
		return
	fi
	local wanted missing
	mapfile -t wanted < <(setup_packages "$1")
	mapfile -t missing < <(setup_missing_packages "${wanted[@]}")
	if ((${#missing[@]} == 0)); then
		return 0
	fi
	if ((EUID != 0)); then
		setup_fail "Debian packages are missing, and only root can install them;" \
			"try: sudo apt-get install ${missing[*]}"
		return
	fi
	setup_say "installing ${missing[*]}"
	setup_apt "${missing[@]}"
}

setup_apt() {
	# Two set-ups at once must not remove the file that keeps services from starting while the other still installs.
	local lock status=0 before
	exec {lock}<"$(dirname "$SETUP_POLICY")"
	flock "$lock"
	before=$(setup_services)
	setup_hold_services
	setup_apt_install "$@" || status=1
	setup_leave_services_off "$before"
	setup_release_services
	exec {lock}<&-
	return "$status"
}

setup_apt_install() {
	local log
	log=$(mktemp)
	if ! { apt-get update -q -o DPkg::Lock::Timeout=300 && DEBIAN_FRONTEND=noninteractive apt-get install -q -y -o DPkg::Lock::Timeout=300 \
		--no-install-recommends "$@"; } \
		>"$log" 2>&1 </dev/null; then
		tail -n 15 "$log" >&2
		rm -f "$log"
		setup_fail "apt-get could not install $* (the end of its output is above): is the network up, and are the" \
			"sources in /etc/apt those of Debian 12?"
		return
	fi
	rm -f "$log"
}

# No package may start its service: the labs run these daemons in network namespaces of their own, and one in the host's
# own would take its ports and write its routes. A file that the host has already is its owner's affair.
setup_hold_services() {
	if [[ ! -e $SETUP_POLICY ]] || setup_policy_is_ours; then
		trap 'setup_release_services; exit 130' INT
		trap 'setup_release_services; exit 143' TERM HUP
		printf '%s\n' '#!/bin/sh' "$SETUP_POLICY_MARK" 'exit 101' >"$SETUP_POLICY"
		chmod 755 "$SETUP_POLICY"
	fi
}

setup_release_services() {
	setup_policy_is_ours && rm -f "$SETUP_POLICY"
	trap - INT TERM HUP
}

# Also true of the file of a set-up that was killed.
setup_policy_is_ours() { grep -qsxF "$SETUP_POLICY_MARK" "$SETUP_POLICY"; }

# Those of SETUP_SERVICES that are installed, one per line.
setup_services() {
	local name
	for name in $SETUP_SERVICES; do
		if [[ -e /lib/systemd/system/$name.service || -e /etc/init.d/$name ]]; then
			printf '%s\n' "$name"
		fi
	done
}

# A service that was installed just now must not start with the host's next boot either. `before` has those that were
# there already; they stay as they are.
setup_leave_services_off() {
	local new name
	mapfile -t new < <(grep -vxF -e "$1" <(setup_services))
	if ((${#new[@]} == 0)); then
		return 0
	fi
	for name in "${new[@]}"; do
		if command -v systemctl >/dev/null; then
			systemctl disable --quiet "$name.service" >/dev/null 2>&1 || true
		fi
		if [[ -e /etc/init.d/$name ]] && command -v update-rc.d >/dev/null; then
			update-rc.d "$name" disable >/dev/null 2>&1 || true
		fi
	done
	setup_say "these services came with the packages, and were neither started nor enabled: ${new[*]}"
}

# A hash of what the venv was made from; if it changes, the venv is updated.
setup_fingerprint() {
	{
		printf '%s\n%s\n' "$XDPLB_ROOT" "$(readlink -f "$SETUP_PYTHON")"
		cat "$XDPLB_ROOT"/{pyproject.toml,requirements.lock,requirements-dev.lock,xdplb/__init__.py,xdplb/balance/fill.c,xdplb/balance/slots.c,scripts/lib/build_hook.py}
	} | sha256sum
}

# Whether the venv has what a purpose (demo or dev) needs; a venv for development can also run the demo.
setup_venv_is_ready() {
	local fingerprint stamp
	fingerprint=$(setup_fingerprint)
	for stamp in "$1" dev; do
		stamp=$XDPLB_ROOT/.venv/.set-up-$stamp
		[[ -r $stamp && $(<"$stamp") == "$fingerprint" ]] && return 0
	done
	return 1
}

setup_make_venv() {
	local config=$XDPLB_ROOT/.venv/pyvenv.cfg
	if grep -qsx 'home = /usr/bin' "$config" && grep -qsx 'include-system-site-packages = true' "$config"; then
		return 0
	fi
	setup_say "making .venv with $SETUP_PYTHON"
	"$SETUP_PYTHON" -m venv --clear --system-site-packages "$XDPLB_ROOT/.venv" ||
		setup_fail "$SETUP_PYTHON cannot make a venv in $XDPLB_ROOT (see its error above)"
}

# The file of the locked Python packages for a purpose.
setup_lock() {
	[[ $1 == dev ]] && printf '%s\n' "$XDPLB_ROOT/requirements-dev.lock" || printf '%s\n' "$XDPLB_ROOT/requirements.lock"
}

setup_pip() {
	"$XDPLB_BIN/python" -m pip install --quiet --disable-pip-version-check "$@" >&2
}

# Every package that pip fetches is in the lock, with the hashes of its files; also those that build xdplb.
setup_install() {
	setup_say "installing the Python packages in $(basename "$(setup_lock "$1")"), and xdplb, into .venv"
	if ! setup_pip --require-hashes --no-deps --requirement "$(setup_lock "$1")"; then
		setup_fail "pip could not install the locked packages into .venv (see its error above): is the network up, does" \
			"pip need PIP_INDEX_URL, and may you write to .venv? If it says that hashes do not match, a file is not" \
			"the one that was locked: do not install it"
		return
	fi
	if ! setup_pip --no-deps --no-build-isolation --editable "$XDPLB_ROOT"; then
		setup_fail "pip could not install xdplb itself into .venv (see its error above)"
		return
	fi
	setup_fingerprint >"$XDPLB_ROOT/.venv/.set-up-$1"
}

setup_venv() {
	if setup_venv_is_ready "$1"; then
		return 0
	fi
	# Two scripts started at once must not both write to the venv: the second waits, then finds nothing left to do.
	local lock
	exec {lock}<"$XDPLB_ROOT"
	flock "$lock"
	local status=0
	setup_venv_is_ready "$1" || { setup_make_venv && setup_install "$1"; } || status=1
	exec {lock}<&-
	return "$status"
}

# What tests/browser drives Chromium with, as its lock file has it.
setup_browser() {
	local folder=$XDPLB_ROOT/tests/browser
	local installed=$folder/node_modules/.package-lock.json
	[[ -e $installed && ! $folder/package-lock.json -nt $installed ]] && return 0
	setup_say "installing the npm packages in tests/browser/package-lock.json"
	npm ci --prefix "$folder" --ignore-scripts --no-audit --no-fund --silent >&2 ||
		setup_fail "npm could not install the packages of tests/browser (see its error above): is the network up?"
}

setup() {
	local start=$EPOCHREALTIME
	local venv=demo
	[[ $1 == dev ]] && venv=dev
	setup_debian "$1" && setup_venv "$venv" || exit 1
	if [[ $1 == dev ]]; then
		setup_browser || exit 1
	fi
	local microseconds=$((${EPOCHREALTIME/[.,]/} - ${start/[.,]/}))
	printf -v XDPLB_SETUP_SECONDS '%d.%d' $((microseconds / 1000000)) $((microseconds / 100000 % 10))
	export XDPLB_SETUP_SECONDS
}
