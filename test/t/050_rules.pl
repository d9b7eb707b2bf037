# A change of rules over a larger log: other sessions see how far it is; cancelled at whatever step, or the server
# killed, it leaves everything as it was; who ingests meanwhile waits, and goes on by the new rules.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use CdpCluster;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('rules', preload => 0);
$node->safe_psql('postgres', 'CREATE DATABASE cdp');
set_up($node, 'cdp');

# 30,000 events of 5,500 people on 7,500 devices, most of them shared, and 50 tablets
$node->safe_psql('cdp', <<~'END');
	INSERT INTO cdp.inbox (payload) SELECT jsonb_build_object('batch', jsonb_agg(m))::text FROM (
		SELECT n / 100 AS part, jsonb_strip_nulls(jsonb_build_object('messageId', 'm' || n, 'type', CASE WHEN n % 4 = 0 THEN 'identify' ELSE 'track' END,
			'event', 'Viewed', 'userId', CASE WHEN n % 3 = 0 THEN 'u' || n % 6000 END, 'anonymousId', 'a' || n % 7500,
			'timestamp', '2026-01-01Z'::timestamptz + n * interval '1 minute',
			'properties', CASE WHEN n % 4 > 0 THEN jsonb_build_object('price', n % 90) END,
			'traits', CASE WHEN n % 4 = 0 THEN jsonb_build_object('email', 'p' || n % 6000 || '@example.com', 'plan', n % 3) END,
			'context', CASE WHEN n % 20 = 1 THEN jsonb_build_object('device', jsonb_build_object('id', 'tablet' || n % 50)) END)) AS m
		FROM generate_series(1, 30000) n) x GROUP BY part;
	SELECT cdp.process();
	SELECT cdp.create_segment('pros', 'trait plan = 2');
	ANALYZE;
	END
is($node->safe_psql('cdp', 'SELECT count(*) FROM cdp.event'), '30000', 'there is a log');

# Everything that is derived, as one number a table.
sub state_of_everything
{
	my @tables = qw(event fragment identity identity_change link membership membership_change namespace profile ruling sign_in change
		timeline_part property trait);

	return $node->safe_psql('cdp',
		join(' UNION ALL ', map { "SELECT '$_' AS name, count(*), sum(hashtextextended(x::text, 0)) FROM cdp.$_ x" } @tables) . ' ORDER BY name');
}

sub differences
{
	return $node->safe_psql('cdp', "SELECT coalesce(string_agg(part || ': ' || differences, ', '), 'none') FROM cdp.verify() WHERE differences <> 0");
}

# An e-mail address stronger than a user id: every message is read anew, everybody resolved again.
my $change = q{SELECT cdp.create_namespace('email', 'contact', 5, 5, normalizer => 'email', paths => '{identify:traits.email}')};

# Begin a statement in a session of its own.
sub begin
{
	my ($sql) = @_;
	my %session = (out => '', err => '');

	$session{run} = IPC::Run::start([ 'psql', '-XAtq', '-v', 'VERBOSITY=terse', '-d', $node->connstr('cdp') . ' application_name=beside', '-c', $sql ],
		'<', \undef, '>', \$session{out}, '2>', \$session{err});
	return \%session;
}

# The row of cdp.status that tells of what runs.
sub running
{
	return $node->safe_psql('cdp', "SELECT value FROM cdp.status WHERE name = 'running'");
}

my $before = state_of_everything();
my %seen;

# Cancelled, at one instant after the other, until it is no longer to be caught.
sub cancel_at_each
{
	my ($statement, @steps) = @_;

	for my $step (@steps)
	{
		my $session = begin($statement);
		my $at = '';

		until ($at =~ /^(?:$step)/ || !$session->{run}->pumpable)
		{
			$at = running();
			$seen{$at =~ s/ \d+ identifiers.*//r}++ if $at;
			$session->{run}->pump_nb;
		}
		my $asked = time;
		$node->safe_psql('cdp', "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'beside'");
		$session->{run}->finish;
		my $took = time - $asked;
		like($session->{err}, qr/^ERROR:  canceling statement due to user request$/m, "cancelled at: $at");
		cmp_ok($took, '<', 1, 'at once');
		is(state_of_everything(), $before, 'everything is as it was');
	}
	is_deeply([ grep { !$seen{$_} } @steps ], [], 'other sessions saw each step');
}

cancel_at_each($change, 'reading the log by the old rules', 'reading the log by the new rules', 'resolve', 'fold');
# a property that timelines are to carry
cancel_at_each(q{SELECT cdp.create_property('price')}, 'reading events into timelines');
is(differences(), 'none', 'cdp.verify() finds no difference');

# killed: after recovery everything is as it was
my $killed = begin($change);
1 until running() =~ /^(?:resolve|fold)/ || !$killed->{run}->pumpable;
kill_all($node);
$killed->{run}->finish;
$node->start;
is(state_of_everything(), $before, 'a killed server leaves everything as it was');

# beside a message that waits: by the new rules the address is the strongest
my $changing = begin($change);
1 until running() || !$changing->{run}->pumpable;
my $ingesting = begin('SELECT events FROM cdp.ingest(' . as_sql(identify('beside', 'u-beside', 'a-beside', 'beside@example.com', 'pro')) . ')');
ok($node->poll_query_until('cdp', "SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'beside' AND query LIKE '%ingest%' AND wait_event_type = 'Lock'"),
	'who ingests waits');
isnt(running(), '', 'while the rules change');
is($node->safe_psql('cdp', "SELECT count(*) FROM cdp.identifiers WHERE value = 'u-beside'"), '0', 'nothing of it is to be seen');
$changing->{run}->finish;
$ingesting->{run}->finish;
is($changing->{err} . $ingesting->{err}, '', 'both go through');
is($ingesting->{out}, "1\n", 'the message became an event');
is($node->safe_psql('cdp', "SELECT anchor_namespace FROM cdp.events WHERE message_id = 'beside'"), 'email', 'by the new rules');
isnt(state_of_everything(), $before, 'the rules changed everything');
is(differences(), 'none', 'cdp.verify() finds no difference');

$node->stop;
done_testing();
