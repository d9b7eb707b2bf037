# What the TAP tests share: servers with cdp, messages as sources send them, the worker's state.
#
# Run each with perl as an ordinary user, with the bin directory of a PostgreSQL in PATH into which cdp is
# installed; the modules of PostgreSQL's own TAP tests are found by pg_config.  Data go into TESTDATADIR or
# tmp_check.  Nothing sleeps for a fixed time: everything polls for what it expects.
package CdpCluster;

use strict;
use warnings;

BEGIN
{
	my $pgxs = `pg_config --pgxs` =~ s{/makefiles/pgxs\.mk\s*$}{}r;
	push @INC, "$pgxs/test/perl";
	$ENV{PG_REGRESS} //= "$pgxs/test/regress/pg_regress";
	die "PostgreSQL does not run as root: run the tests as an ordinary user\n" if $> == 0;
}

use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(new_node set_up track identify as_sql wait_state wait_gone works kill_all);

my $serial = 0;

# Start a server. preload: with the worker (default); logical: for publications; conf: more settings.
sub new_node
{
	my ($name, %options) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(
		extra => [ '--encoding=UTF8', '--locale=C' ],
		($options{streaming} ? (allows_streaming => $options{streaming}) : ()));
	$node->append_conf('postgresql.conf', <<~"END");
		log_statement = none
		log_replication_commands = off
		max_connections = 40
		shared_buffers = 64MB
		timezone = 'UTC'
		cdp.worker_naptime = 100
		END
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'cdp'")
	  if $options{preload} // 1;
	$node->append_conf('postgresql.conf', $options{conf}) if $options{conf};
	$node->start;
	return $node;
}

# Make the platform in a database.
sub set_up
{
	my ($node, $db) = @_;
	$node->safe_psql($db, 'CREATE EXTENSION IF NOT EXISTS cdp; SELECT cdp.init();');
	return;
}

# A message of the Segment kind, as JSON; values need no escaping here.
sub track
{
	my ($message_id, $user, $anonymous, $event, $at) = @_;
	$event //= 'Order Completed';
	$at //= '2026-01-01T00:00:00Z';
	return qq({"type":"track","messageId":"$message_id","userId":"$user","anonymousId":"$anonymous",)
	  . qq("event":"$event","properties":{"revenue":5},"timestamp":"$at"});
}

sub identify
{
	my ($message_id, $user, $anonymous, $email, $plan, $at) = @_;
	$at //= '2026-01-01T00:00:00Z';
	return qq({"type":"identify","messageId":"$message_id","userId":"$user","anonymousId":"$anonymous",)
	  . qq("traits":{"email":"$email","plan":"$plan"},"timestamp":"$at"});
}

# A string as an SQL literal.
sub as_sql
{
	my ($text) = @_;
	$text =~ s/'/''/g;
	return "'$text'";
}

# Wait until this database's worker is in the state.
sub wait_state
{
	my ($node, $db, $state, $name) = @_;
	my $reached = $node->poll_query_until($db, "SELECT state FROM cdp.worker_state()", $state);
	return ok($reached, $name // "worker of $db: $state");
}

# Wait until no worker is connected to the database.
sub wait_gone
{
	my ($node, $db, $name) = @_;
	my $gone = $node->poll_query_until('postgres',
		"SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'cdp worker' AND datname = '$db'");
	return ok($gone, $name // "no worker in $db");
}

# Does the worker of the database process what is copied into the inbox?
sub works
{
	my ($node, $db, $name) = @_;
	my $id = 'works-' . ++$serial;
	my $message = track($id, 'u-works', "a-works-$serial");

	$node->safe_psql($db, "COPY cdp.inbox (payload) FROM STDIN WITH (FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02');\n$message\n\\.\n");
	my $done = $node->poll_query_until($db, "SELECT count(*) = 1 FROM cdp.events WHERE message_id = '$id'");
	return ok($done, $name // "worker of $db works");
}

# Kill the server and every process of it, as a power cut would, and wait until they are gone.
sub kill_all
{
	my ($node) = @_;
	my $postmaster = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
	my @processes = ($postmaster, split ' ', `ps -o pid= --ppid $postmaster`);

	$node->kill9;    # the parent first, that it cannot start anything anew
	kill 9, @processes;
	for (1 .. 100 * $PostgreSQL::Test::Utils::timeout_default)
	{
		# also reaped: a zombie passes for a running server
		return if `ps -o pid= -p @{[ join ',', @processes ]}` eq '';
		select undef, undef, undef, 0.01;
	}
	BAIL_OUT('the server did not die');
}

1;
