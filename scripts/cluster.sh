# shellcheck shell=bash
# cluster.sh: a throw-away cluster in a directory of its own.
#
# Sourced after lib.sh, find_postgres and choose_state.  The server runs from a copy of
# the PostgreSQL installation with cdp installed into the copy: PostgreSQL finds
# its files relative to its own program, so the system's installation is neither
# written to nor needed to be writable.  Programs are copied (12 MB), all else is
# symbolic links.  It listens on a socket only, so no port can be taken.
#
#   cluster_install DIR         DIR/root: PostgreSQL and cdp          sets BIN
#   cluster_make DIR [CONF..]   DIR/data: initdb, settings from files
#   cluster_start DIR           sets PGHOST, PGPORT, PGUSER; DIR/socket names the socket's directory
#   cluster_restart DIR         with the same socket
#   cluster_stop DIR [MODE]     stops what runs from DIR, if anything
#   cluster_remove DIR          stops it and removes the directory

# Link everything of directory $1 into $2, but what matches cdp* and the names that follow.
link_all() {
	local from=$1 to=$2 entry name
	shift 2
	mkdir -p "$to"
	for entry in "$from"/*; do
		name=${entry##*/}
		case " $* " in *" $name "*) continue ;; esac
		case $name in cdp*) continue ;; esac
		ln -s "$entry" "$to/$name"
	done
}

cluster_install() {
	local root=$1/root share lib program
	share=$("$PG_CONFIG" --sharedir)
	lib=$("$PG_CONFIG" --pkglibdir)
	BIN=$root$BINDIR
	mkdir -p "$BIN"
	for program in "$BINDIR"/{postgres,initdb,psql,pg_*,pgbench,createdb,createuser,dropdb,dropuser,vacuumdb,reindexdb}; do
		[ ! -f "$program" ] || cp -L "$program" "$BIN/"
	done
	link_all "$lib" "$root$lib"
	link_all "$share" "$root$share" extension
	link_all "$share/extension" "$root$share/extension"
	make -C "$STATE/.build/pg$PG_MAJOR" -s PG_CONFIG="$PG_CONFIG" DESTDIR="$root" install >"$1/install.log" 2>&1 ||
		{ cat "$1/install.log" >&2; die "make install failed"; }
	as_user "$BIN/postgres" --version >/dev/null || die "user $RUN_USER cannot run $BIN/postgres (is the file system mounted noexec?)"
}

cluster_make() {
	local dir=$1 locale conf
	shift
	for locale in C.UTF-8 C; do
		if as_user "$BIN/initdb" -D "$dir/data" -U postgres --auth=trust --encoding=UTF8 --locale="$locale" \
			--no-sync >"$dir/initdb.log" 2>&1; then
			break
		fi
		rm -rf "$dir/data"
	done
	[ -d "$dir/data" ] || { cat "$dir/initdb.log" >&2; die "initdb failed"; }
	for conf in "$@"; do
		as_user tee -a "$dir/data/postgresql.conf" <"$conf" >/dev/null
	done
}

# The socket's path must be shorter than 107 bytes: it goes below /tmp.
cluster_start() {
	local dir=$1
	PGHOST=$(as_user mktemp -d /tmp/cdp.XXXXXX)
	PGPORT=5432
	PGUSER=postgres
	export PGHOST PGPORT PGUSER
	printf '%s\n' "$PGHOST" >"$dir/socket"
	if ! as_user "$BIN/pg_ctl" -D "$dir/data" -l "$dir/data/server.log" -w -t 120 -s \
		-o "-c listen_addresses='' -c unix_socket_directories=$PGHOST -c port=$PGPORT" start 7>&- 8>&- 9>&- >"$dir/start.log" 2>&1; then
		cat "$dir/start.log" "$dir/data/server.log" >&2
		cluster_stop "$dir"
		die "the server did not start"
	fi
}

cluster_stop() {
	local dir=$1 mode=${2:-fast} pg_ctl socket
	if [ -f "$dir/data/postmaster.pid" ]; then
		pg_ctl=$(compgen -G "$dir/root/*/bin/pg_ctl" || find "$dir/root" -name pg_ctl -type f | sed -n 1p)
		as_user "$pg_ctl" -D "$dir/data" -m "$mode" -w -t 120 -s stop >/dev/null 2>&1 ||
			as_user "$pg_ctl" -D "$dir/data" -m immediate -w -t 60 -s stop >/dev/null 2>&1 || true
	fi
	if [ -f "$dir/socket" ]; then
		socket=$(cat "$dir/socket")
		case $socket in /tmp/cdp.??????) rm -rf "$socket" ;; esac
		rm -f "$dir/socket"
	fi
}

cluster_remove() {
	[ -e "$1" ] || return 0
	cluster_stop "$1" immediate
	remove_tree "$1"
}

# psql as the scripts use it: nobody's psqlrc, stops at the first error, quiet.
sql() { "$BIN/psql" -X -q -v ON_ERROR_STOP=1 "$@"; }

# Stop and start again where it was, so that clients find it.
cluster_restart() {
	as_user "$BIN/pg_ctl" -D "$1/data" -l "$1/data/server.log" -w -t 120 -s -m fast restart 7>&- 8>&- 9>&- >>"$1/start.log" 2>&1 ||
		{ tail -n 20 "$1/data/server.log" >&2; die "the server did not start again"; }
}
