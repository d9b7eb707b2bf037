# The worker survives what happens to servers, databases and extensions: a test for each
# scenario at the head of src/worker/worker.c, of the same name.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use CdpCluster;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', conf => "max_prepared_transactions = 2\nmax_worker_processes = 16\n");

# The pid of a database's worker, or ''.
sub pid_in
{
	my ($db) = @_;
	return $node->safe_psql('postgres',
		"SELECT pid FROM pg_stat_activity WHERE backend_type = 'cdp worker' AND datname = '$db'");
}

# Wait until the database's worker is another than before.
sub wait_other_pid
{
	my ($db, $before, $name) = @_;
	return ok(
		$node->poll_query_until('postgres',
			"SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'cdp worker' AND datname = '$db' AND pid <> $before"),
		$name);
}

# How often the log has a pattern.
sub logged
{
	my ($pattern) = @_;
	my @found = slurp_file($node->logfile) =~ m/$pattern/g;
	return scalar @found;
}

$node->safe_psql('postgres', 'CREATE DATABASE other');

subtest 'create extension, commit' => sub {
	$node->safe_psql('postgres', 'CREATE DATABASE d');
	is(pid_in('d'), '', 'no worker without the extension');
	$node->safe_psql('d', 'BEGIN; CREATE EXTENSION cdp; COMMIT;');
	wait_state($node, 'd', 'waiting for init');
};

subtest 'extension without cdp.init()' => sub {
	$node->safe_psql('d', 'SELECT cdp.wake_worker()') for 1 .. 5;
	wait_state($node, 'd', 'waiting for init');
	is(logged(qr/cdp worker waits for cdp\.init\(\) in database "d"/), 1, 'said once');
	$node->safe_psql('d', 'SELECT cdp.init()');
	wait_state($node, 'd', 'idle');
	works($node, 'd');
	is($node->safe_psql('d', 'SELECT is_preloaded AND launcher_pid > 0 AND worker_pid > 0 AND last_run_at IS NOT NULL AND last_error_at IS NULL AND restarts = 0 FROM cdp.worker_state()'),
		't', 'cdp.worker_state() tells it all');
};

subtest 'table sources' => sub {
	$node->safe_psql('d', <<~'END');
		CREATE TABLE members (id text PRIMARY KEY, level int);
		INSERT INTO members VALUES ('m-1', 1);
		SELECT cdp.create_table_source('members', '{"type": "identify", "userId": "id", "traits": {"level": "level"}}');
		SELECT pg_terminate_backend(worker_pid) FROM cdp.worker_state();
		END
	ok($node->poll_query_until('d', q{SELECT cdp.profile('user_id:m-1') -> 'traits' = '{"level": 1}'}), 'are read when it starts');
	$node->safe_psql('d', q{SELECT cdp.drop_table_source('members')});
	wait_state($node, 'd', 'idle');
};

subtest 'create extension, rollback' => sub {
	$node->safe_psql('other', 'BEGIN; CREATE EXTENSION cdp; ROLLBACK;');
	$node->safe_psql('other', 'BEGIN; SAVEPOINT s; CREATE EXTENSION cdp; ROLLBACK TO s; COMMIT;');
	works($node, 'd');
	wait_gone($node, 'other');
};

subtest 'create extension, two-phase' => sub {
	$node->safe_psql('other', "BEGIN; CREATE EXTENSION cdp; PREPARE TRANSACTION 'x';");
	wait_gone($node, 'other');
	$node->safe_psql('other', "ROLLBACK PREPARED 'x'");
	wait_gone($node, 'other');
};

subtest 'drop extension, commit' => sub {
	$node->safe_psql('other', 'CREATE EXTENSION cdp');
	wait_state($node, 'other', 'waiting for init');
	$node->safe_psql('other', 'DROP EXTENSION cdp');
	wait_gone($node, 'other');
	$node->safe_psql('other', 'CREATE EXTENSION cdp');
	wait_state($node, 'other', 'waiting for init', 'and made again');
	$node->safe_psql('other', 'DROP EXTENSION cdp; CREATE EXTENSION cdp; DROP EXTENSION cdp;');
	wait_gone($node, 'other', 'dropped, made and dropped at one go');
};

subtest 'drop extension, rollback' => sub {
	$node->safe_psql('other', 'CREATE EXTENSION cdp');
	wait_state($node, 'other', 'waiting for init');
	my $session = $node->background_psql('other');
	$session->query_safe('BEGIN; DROP EXTENSION cdp;');
	my $pid = pid_in('other');
	$node->safe_psql('other', 'SELECT pg_reload_conf()');
	$session->query_safe('ROLLBACK');
	$session->quit;
	set_up($node, 'other');
	works($node, 'other');
	is(pid_in('other'), $pid, 'the same worker all the time');
	my ($code, $out, $err) = $node->psql('other', 'DROP EXTENSION cdp');
	isnt($code, 0, 'with tables there is no drop');
	like($err, qr/cannot drop extension cdp because other objects depend on it/, 'and the error says why');
	works($node, 'other');
};

subtest 'create database' => sub {
	$node->safe_psql('postgres', 'CREATE DATABASE plain');
	works($node, 'd', 'others go on');
	wait_gone($node, 'plain');
};

subtest 'create database, failed' => sub {
	my ($code) = $node->psql('postgres', 'CREATE DATABASE plain');
	isnt($code, 0, 'name taken');
	($code) = $node->psql('postgres', 'BEGIN; CREATE DATABASE p2;');
	isnt($code, 0, 'in a transaction block');
	($code) = $node->psql('postgres', 'CREATE DATABASE plain TEMPLATE d');
	isnt($code, 0, 'name taken, the template has a worker');
	works($node, 'd', 'which returns');
	($code) = $node->psql('postgres', 'CREATE DATABASE p2 TEMPLATE no_such');
	isnt($code, 0, 'no such template');
};

subtest 'create database ... template' => sub {
	$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE d');
	wait_state($node, 'copy', 'idle');
	works($node, 'copy');
	works($node, 'd', 'the template has its worker again');
};

subtest 'alter database ... rename' => sub {
	$node->safe_psql('postgres', 'ALTER DATABASE copy RENAME TO renamed');
	works($node, 'renamed');
	$node->safe_psql('postgres', 'BEGIN; ALTER DATABASE renamed RENAME TO x; ALTER DATABASE d RENAME TO y; ROLLBACK;');
	works($node, 'renamed', 'after a rollback');
	works($node, 'd', 'and the other of that transaction');
	my ($code) = $node->psql('postgres', 'ALTER DATABASE renamed RENAME TO d');
	isnt($code, 0, 'name taken');
	works($node, 'renamed', 'after a failure');
};

subtest 'alter database ... set tablespace' => sub {
	my $dir = PostgreSQL::Test::Utils::tempdir_short();
	$node->safe_psql('postgres', "CREATE TABLESPACE elsewhere LOCATION '$dir'");
	$node->safe_psql('postgres', 'ALTER DATABASE renamed SET TABLESPACE elsewhere');
	works($node, 'renamed');
	$node->safe_psql('postgres', 'ALTER DATABASE renamed SET TABLESPACE pg_default');
	works($node, 'renamed');
};

subtest 'drop database' => sub {
	$node->safe_psql('postgres', 'DROP DATABASE renamed');
	wait_gone($node, 'renamed');
	# workers on their way: each must see that the database is held, whatever stage it has reached
	for my $i (1 .. 20)
	{
		$node->safe_psql('postgres', "CREATE DATABASE quick$i TEMPLATE other");
		$node->poll_query_until('postgres', "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = 'quick$i'")
		  if $i % 4 == 0;
		$node->safe_psql('postgres', "DROP DATABASE quick$i" . ($i % 2 ? '' : ' WITH (FORCE)'));
	}
	works($node, 'other', 'the template has its worker again');
};

subtest 'drop database, failed' => sub {
	my ($code) = $node->psql('postgres', 'BEGIN; DROP DATABASE other;');
	isnt($code, 0, 'in a transaction block');
	works($node, 'other');

	my $session = $node->background_psql('other');
	($code) = $node->psql('postgres', 'DROP DATABASE other');
	isnt($code, 0, 'somebody is connected');
	$session->quit;
	works($node, 'other');

	my $pid = pid_in('other');
	$node->safe_psql('postgres', 'CREATE ROLE stranger LOGIN CREATEDB');
	($code) = $node->psql('postgres', 'SET ROLE stranger; DROP DATABASE other;');
	isnt($code, 0, 'not the owner');
	($code) = $node->psql('postgres', 'SET ROLE stranger; CREATE DATABASE theft TEMPLATE other;');
	isnt($code, 0, 'nor to copy');
	is(pid_in('other'), $pid, 'who does not even disturb the worker');
};

subtest 'terminate the worker' => sub {
	my $pid = pid_in('d');
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	wait_other_pid('d', $pid, 'a new one');
	works($node, 'd');
	$pid = pid_in('d');
	$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
	works($node, 'd', 'a cancel when idle does no harm');

	# in the middle of its work, waiting for a lock
	my $session = $node->background_psql('d');
	$session->query_safe('BEGIN; LOCK TABLE cdp.inbox IN ACCESS EXCLUSIVE MODE;');
	ok($node->poll_query_until('postgres', "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE backend_type = 'cdp worker' AND datname = 'd'"),
		'it waits for a lock');
	$pid = pid_in('d');
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	wait_other_pid('d', $pid, 'ended in a lock');
	$session->query_safe('ROLLBACK');
	$session->quit;
	works($node, 'd');
	cmp_ok($node->safe_psql('d', 'SELECT restarts FROM cdp.worker_state()'), '>=', 2, 'restarts are counted');
};

subtest 'terminate the launcher' => sub {
	my $before = $node->safe_psql('d', 'SELECT launcher_pid FROM cdp.worker_state()');
	my $worker = pid_in('d');
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($before)");
	ok($node->poll_query_until('d', "SELECT launcher_pid IS NOT NULL AND launcher_pid <> $before FROM cdp.worker_state()"), 'a new one');
	is(pid_in('d'), $worker, 'workers stay');
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($worker)");
	wait_other_pid('d', $worker, 'and are in its care');
	works($node, 'd');
	# both at once, the launcher while it has a start to make
	for (1 .. 5)
	{
		$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type IN ('cdp worker', 'cdp launcher')");
	}
	works($node, 'd', 'after killing all of them five times');
};

subtest 'an error in cdp.process()' => sub {
	$node->safe_psql('d', <<~'END');
		CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN RAISE EXCEPTION 'ada@example.com is not wanted' USING ERRCODE = 'P0042', DETAIL = 'ada@example.com'; END $$;
		CREATE TRIGGER fail BEFORE DELETE ON cdp.inbox FOR EACH STATEMENT EXECUTE FUNCTION public.fail();
		END
	my $before = logged(qr/cdp worker failed in database "d" with SQLSTATE P0042/);
	$node->safe_psql('d', 'COPY cdp.inbox (payload) FROM STDIN WITH (FORMAT csv, QUOTE E\'\x01\', DELIMITER E\'\x02\');' . "\n" . track('e1', 'u', 'a') . "\n\\.\n");
	wait_state($node, 'd', 'backing off');
	$node->wait_for_log(qr/(?:cdp worker failed.*?){2}/s);
	# waking it up does not shorten the pause
	$node->safe_psql('d', 'SELECT cdp.wake_worker()') for 1 .. 20;
	cmp_ok(logged(qr/cdp worker failed in database "d" with SQLSTATE P0042/), '<=', 5, 'once for each pause');
	is(logged(qr/ada\@example\.com/), 0, "the log has nobody's data");
	is($node->safe_psql('d', 'SELECT last_error_at IS NOT NULL FROM cdp.worker_state()'), 't', 'time of the error');
	$node->safe_psql('d', 'DROP TRIGGER fail ON cdp.inbox');
	ok($node->poll_query_until('d', "SELECT count(*) = 1 FROM cdp.events WHERE message_id = 'e1'"), 'nothing was lost');
	wait_state($node, 'd', 'idle');
	works($node, 'd');
};

subtest 'it acts as the owner of the inbox' => sub {
	$node->safe_psql('postgres', 'CREATE ROLE keeper NOLOGIN; CREATE DATABASE kept OWNER keeper');
	$node->safe_psql('kept', <<~'END');
		CREATE EXTENSION cdp;
		GRANT ALL ON SCHEMA cdp TO keeper;
		SET ROLE keeper;
		SELECT cdp.init();
		CREATE TABLE public.seen_as (step text, role text);
		CREATE FUNCTION public.spy() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			INSERT INTO public.seen_as VALUES (tg_name, current_user);
			BEGIN
				RESET SESSION AUTHORIZATION;
				INSERT INTO public.seen_as VALUES ('reset session authorization', current_user);
			EXCEPTION WHEN insufficient_privilege THEN NULL;
			END;
			BEGIN
				SET ROLE postgres;
				INSERT INTO public.seen_as VALUES ('set role', current_user);
			EXCEPTION WHEN insufficient_privilege THEN NULL;
			END;
			RETURN NULL;
		END $$;
		CREATE CONSTRAINT TRIGGER deferred AFTER DELETE ON cdp.inbox DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.spy();
		CREATE TRIGGER immediate AFTER DELETE ON cdp.inbox FOR EACH ROW EXECUTE FUNCTION public.spy();
		END
	works($node, 'kept');
	is($node->safe_psql('kept', "SELECT string_agg(DISTINCT step || ' as ' || role, ', ' ORDER BY step || ' as ' || role) FROM public.seen_as"),
		'deferred as keeper, immediate as keeper', 'its triggers get no more, whatever they try');
};

subtest 'cdp.worker_role' => sub {
	$node->append_conf('postgresql.conf', "cdp.worker_role = 'nobody_yet'");
	$node->reload;
	$node->safe_psql('d', 'SELECT cdp.wake_worker()');
	wait_state($node, 'd', 'backing off', 'no such role');
	$node->safe_psql('postgres', 'CREATE ROLE nobody_yet SUPERUSER');
	wait_state($node, 'd', 'idle', 'the role was made');
	works($node, 'd');
	$node->append_conf('postgresql.conf', "cdp.worker_role = ''");
	$node->reload;
	works($node, 'd');
};

subtest 'templates, ALLOW_CONNECTIONS false, half-dropped databases' => sub {
	for my $option (qw(IS_TEMPLATE ALLOW_CONNECTIONS))
	{
		my ($on, $off) = $option eq 'IS_TEMPLATE' ? qw(true false) : qw(false true);
		$node->safe_psql('postgres', "ALTER DATABASE other $option $on");
		wait_gone($node, 'other', "$option $on");
		$node->safe_psql('postgres', "ALTER DATABASE other $option $off");
		works($node, 'other', "$option $off");
	}
	# any ALTER DATABASE makes the launcher look, which a change by hand does not
	my $look = 'ALTER DATABASE d CONNECTION LIMIT -1';
	$node->safe_psql('postgres', "UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'other'; $look;");
	wait_gone($node, 'other', 'half-dropped');
	$node->safe_psql('postgres', "UPDATE pg_database SET datconnlimit = -1 WHERE datname = 'other'; $look;");
	works($node, 'other');
};

subtest 'a dump being restored' => sub {
	$node->safe_psql('other', 'REFRESH MATERIALIZED VIEW cdp.ready WITH NO DATA; SELECT cdp.wake_worker();');
	wait_state($node, 'other', 'waiting for restore');
	$node->safe_psql('other', 'REFRESH MATERIALIZED VIEW cdp.ready');
	works($node, 'other');
};

subtest 'crash of any backend' => sub {
	$node->append_conf('postgresql.conf', 'restart_after_crash = on');
	$node->reload;
	my $session = $node->background_psql('other', on_error_stop => 0);
	my $victim = $session->query('SELECT pg_backend_pid()');
	kill 9, $victim;
	eval { $session->quit };
	$node->wait_for_log(qr/all server processes terminated; reinitializing/);
	ok($node->poll_query_until('postgres', 'SELECT true'), 'the server is back');
	works($node, 'd');
	works($node, 'other');

	kill 9, pid_in('d');
	$node->wait_for_log(qr/(?:all server processes terminated; reinitializing.*?){2}/s);
	ok($node->poll_query_until('postgres', 'SELECT true'), 'the server is back from a crash of the worker');
	works($node, 'd');
};

subtest 'shutdown' => sub {
	works($node, 'kept');
	$node->stop('fast');
	my @lines = split /\n/, slurp_file($node->logfile);
	my ($asked, $left);
	for (@lines)
	{
		$asked = $1, $left = undef if m/^\S+ (\d\d:\d\d:\d\d\.\d+) .*received fast shutdown request/;
		$left = $1 if m/^\S+ (\d\d:\d\d:\d\d\.\d+) .*background worker "cdp launcher".*exited with exit code 1/;
	}
	my $seconds = sub { my @t = split /:/, shift; $t[0] * 3600 + $t[1] * 60 + $t[2] };
	my $took = $seconds->($left) - $seconds->($asked);
	$took += 86400 if $took < 0;
	cmp_ok($took, '<', 1, "the launcher left after $took s");
	$node->start;
	works($node, 'd', 'and after a start all goes on');
};

subtest 'standby' => sub {
	my $primary = new_node('primary', streaming => 1);
	set_up($primary, 'postgres');
	works($primary, 'postgres');
	$primary->backup('base');
	my $standby = PostgreSQL::Test::Cluster->new('standby');
	$standby->init_from_backup($primary, 'base', has_streaming => 1);
	$standby->start;
	is($standby->safe_psql('postgres', 'SELECT is_preloaded, launcher_pid, state FROM cdp.worker_state()'), 't||stopped', 'no worker in recovery');
	$standby->safe_psql('postgres', 'SELECT cdp.wake_worker()');
	$primary->stop('immediate');
	$standby->promote;
	works($standby, 'postgres', 'after promotion there is');
	$standby->stop;
};

subtest 'pg_upgrade' => sub {
	my $old = new_node('old');
	my $new = new_node('new');
	my $bin = $old->config_data('--bindir');

	set_up($old, 'postgres');
	works($old, 'postgres');
	$_->stop for $old, $new;
	local $ENV{PGHOST};    # pg_upgrade refuses it
	delete $ENV{PGHOST};
	chdir PostgreSQL::Test::Utils::tempdir();
	$new->command_ok([ 'pg_upgrade', '--retain', '-b', $bin, '-B', $bin, '-d', $old->data_dir, '-D', $new->data_dir,
			'-p', $old->port, '-P', $new->port, '-s', PostgreSQL::Test::Utils::tempdir_short() ], 'with the library preloaded in both');
	my @logs = glob($new->data_dir . '/pg_upgrade_output.d/*/log/pg_upgrade_server.log');
	is(scalar @logs, 1, 'has a log');
	unlike(slurp_file($logs[0]), qr/cdp (?:launcher|worker)/, 'no worker meanwhile');
	$new->start;
	is($new->safe_psql('postgres', "SELECT count(*) FROM cdp.events WHERE message_id ~ '^works-'"), '1', 'the data came over');
	works($new, 'postgres', 'and the worker with them');
	$new->stop;
};

subtest 'no preloading' => sub {
	$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
	$node->restart;
	is($node->safe_psql('d', 'SELECT is_preloaded, launcher_pid, state, restarts FROM cdp.worker_state()'), 'f|||', 'cdp.worker_state() says so');
	$node->safe_psql('d', 'SELECT cdp.wake_worker()');
	$node->safe_psql('postgres', 'ALTER DATABASE d RENAME TO dd; ALTER DATABASE dd RENAME TO d;');
	is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'cdp%'"), '0', 'and there is none');
};
$node->stop;

done_testing();
