# shellcheck shell=bash
# lib.sh: what the scripts share: where things are, who runs the server, how it is said.
#
# Sourced, never run.  A script that sources it may rely on: TOP (the checkout),
# SCRIPTS, say/heading/die, run_user/as_user, find_postgres, choose_state, remove_tree, and
# must name files by absolute paths.

set -euo pipefail
umask 022

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
SCRIPTS=$TOP/scripts
NOUNS=$(sed -n 's/^NOUNS *= *//p' "$TOP/Makefile")

# One locale for every sort and every message, and one encoding towards the server.
export LC_ALL=C PGCLIENTENCODING=UTF8
unset LANGUAGE
# Nothing of the caller's own connections, and nothing of the make that called us.
unset PGDATA PGHOST PGHOSTADDR PGPORT PGUSER PGDATABASE PGPASSWORD PGPASSFILE PGSERVICE PGSERVICEFILE PGOPTIONS
unset PGSSLMODE PGTARGETSESSIONATTRS PGAPPNAME PGCONNECT_TIMEOUT PGTZ PGDATESTYLE PSQLRC
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES
# make demo DATA=file: a variable of PGXS too, which would install the file
DEMO_DATA=${DATA:+$(readlink -f "$DATA")}
unset DATA
# From here on every path is absolute, and the working directory one that anybody can enter.
case ${PG_CONFIG:-} in /*) ;; */*) PG_CONFIG=$(readlink -f "$PG_CONFIG") ;; esac
if [ -n "${CDP_STATE:-}" ]; then
	mkdir -p "$CDP_STATE"
	CDP_STATE=$(cd "$CDP_STATE" && pwd -P)
fi
CALLED_FROM=$PWD
cd /

# A trap may run while output is redirected to a log; it says its word here instead.
# Descriptors 7 to 9 (9: only_one's lock) must be closed for a server that outlives the script.
exec 7>&1 8>&2
to_terminal() { exec >&7 2>&8; }

say() { printf '%s\n' "$*"; }
note() { printf '%s\n' "$*" >&2; }
die() {
	printf '\n%s\n' "cdp: $*" >&2
	exit 1
}

# A short heading on a line of its own, for eyes that scan.
heading() { printf '\n\033[1m%s\033[0m\n' "$*" | if [ -t 1 ]; then cat; else sed 's/\x1b\[[0-9]*m//g'; fi; }

# Of the kinds or parts that a script names in PARTS, the caller may choose by ONLY="..".
wanted() { case " ${ONLY:-$PARTS} " in *" $1 "*) true ;; *) false ;; esac }

# --- who runs the server -------------------------------------------------------

# PostgreSQL refuses to run as root, rightly: as root we drop to another user.
run_user() {
	if [ "$(id -u)" != 0 ]; then
		RUN_USER=$(id -un 2>/dev/null) || die "user $(id -u) has no name on this machine; PostgreSQL needs one (see /etc/passwd)"
		return
	fi
	local name
	for name in ${CDP_USER:-postgres nobody}; do
		if [ "$name" != root ] && id -u "$name" >/dev/null 2>&1; then
			RUN_USER=$name
			return
		fi
	done
	die "no user to run PostgreSQL as; name one: CDP_USER=name make ..."
}

# Run a command as that user, in the same environment but a home of its own.
as_user() {
	if [ "$(id -u)" != 0 ]; then
		"$@"
	elif command -v setpriv >/dev/null; then
		setpriv --reuid="$(id -u "$RUN_USER")" --regid="$(id -g "$RUN_USER")" --init-groups \
			env HOME="${STATE:-/tmp}" USER="$RUN_USER" LOGNAME="$RUN_USER" "$@"
	else
		runuser -u "$RUN_USER" -- env HOME="${STATE:-/tmp}" USER="$RUN_USER" LOGNAME="$RUN_USER" "$@"
	fi
}

# Start the calling script anew as a child of one who buries dead servers.  Call: reap_orphans "$@"
reap_orphans() {
	if [ -z "${CDP_REAPED:-}" ]; then
		CDP_REAPED=1 exec perl "$SCRIPTS/reaping" "$SCRIPTS/$(basename "$0")" "$@"
	fi
}

# --- which PostgreSQL ----------------------------------------------------------

# True if this pg_config belongs to a server (15 or later) that can be built for and run.
usable_postgres() {
	local config=$1 version
	version=$("$config" --version 2>/dev/null) || return 1
	version=${version#PostgreSQL }
	version=${version%%[!0-9]*}
	[ "${version:-0}" -ge 15 ] && [ -x "$("$config" --bindir)/postgres" ] &&
		[ -f "$("$config" --pgxs)" ] && [ -f "$("$config" --includedir-server)/postgres.h" ]
}

# Sets PG_CONFIG, BINDIR, PG_MAJOR; fails if there is none.  A PG_CONFIG given by the caller is kept.
find_postgres() {
	local config
	for config in ${PG_CONFIG:-/usr/lib/postgresql/15/bin/pg_config pg_config /usr/lib/postgresql/*/bin/pg_config}; do
		if command -v "$config" >/dev/null && usable_postgres "$config"; then
			PG_CONFIG=$(readlink -f "$(command -v "$config")")
			export PG_CONFIG
			BINDIR=$("$PG_CONFIG" --bindir)
			PG_MAJOR=$("$PG_CONFIG" --version | sed 's/^PostgreSQL \([0-9]*\).*/\1/')
			return 0
		fi
	done
	return 1
}

# Sets PYTHON to one that has scipy; fails if there is none.
find_scipy() {
	for PYTHON in python3 /usr/bin/python3; do
		if "$PYTHON" -c "import numpy, scipy.sparse.csgraph" 2>/dev/null; then return 0; fi
	done
	return 1
}

# --- where things are kept -----------------------------------------------------

# STATE holds what the scripts make; TREE is the checkout as the run user can read it.
# Both are the checkout itself, unless that user cannot read it (below /root, say).
choose_state() {
	run_user
	if [ -n "${CDP_STATE:-}" ]; then
		STATE=$CDP_STATE
		TREE=$TOP
	elif as_user test -r "$TOP/Makefile" -a -x "$TOP/test" 2>/dev/null; then
		STATE=$TOP
		TREE=$TOP
	else
		STATE=/var/tmp/cdp-$(id -u)-$(printf '%s' "$TOP" | cksum | cut -d' ' -f1)
		mkdir -p "$STATE"
		[ -O "$STATE" ] || die "$STATE belongs to somebody else; remove it or set CDP_STATE=directory"
		TREE=$STATE/tree
	fi
	if ! as_user test -r "$TREE/Makefile" 2>/dev/null && [ "$TREE" = "$TOP" ]; then
		TREE=$STATE/tree
	fi
	if [ "$TREE" != "$TOP" ]; then
		copy_tree
	fi
}

# The checkout (without what is built) and the shared data beside it, for a user who cannot read them.
copy_tree() {
	rm -rf "$TREE" "$STATE/shared"
	mkdir -p "$TREE"
	(cd "$TOP" && tar -cf - --exclude=./.git --exclude=./.build --exclude=./.demo --exclude=./tmp_check .) | tar -xf - -C "$TREE"
	if [ -d "$TOP/../shared" ]; then
		mkdir -p "$STATE/shared"
		cp -R "$TOP/../shared/." "$STATE/shared/"
	fi
	chmod -R a+rX "$TREE"
	if [ -d "$STATE/shared" ]; then chmod -R a+rX "$STATE/shared"; fi
}

# A new, empty directory that belongs to the run user.
fresh_directory() {
	remove_tree "$1"
	mkdir -p "$1"
	if [ "$(id -u)" = 0 ]; then chown "$RUN_USER" "$1"; fi
}

remove_tree() {
	[ -e "$1" ] || return 0
	rm -rf "$1" 2>/dev/null || die "cannot remove $1: it belongs to another user (made by root?).  Remove it, then try again"
}

# One run of a kind at a time: two would overwrite each other's files.
only_one() {
	local lock=$STATE/.build/$1.lock
	{ mkdir -p "$STATE/.build" && exec 9>"$lock"; } 2>/dev/null ||
		die "cannot write $lock: it belongs to another user.  Remove it, then try again"
	flock -n 9 || die "another run holds $lock; wait for it, or set CDP_STATE=directory to run beside it"
}
