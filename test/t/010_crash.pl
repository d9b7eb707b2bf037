# Nothing acknowledged is lost, nothing counts twice, and what was derived is right, when the server is killed
# again and again while four sources write and the worker works.
#
# CDP_SOAK=n runs n times as many kills.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use CdpCluster;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use constant {
	WRITERS => 4,
	PER_CYCLE => [ 2000, 20000 ],    # messages that an ingesting and a copying writer have ready; more than they can send
	BEFORE_KILL => 1000              # messages stored before the kill
};

my $cycles = 3 * ($ENV{CDP_SOAK} || 1);
my $dir = PostgreSQL::Test::Utils::tempdir();
my $node = new_node('crash', streaming => 'logical', conf => "cdp.worker_naptime = 50\n");
$node->safe_psql('postgres', 'CREATE DATABASE cdp');
set_up($node, 'cdp');

srand(4711);

# One message of a writer: 60 people with up to 3 devices each, now and then an e-mail address, that merge over time.
sub message
{
	my ($writer, $n) = @_;
	my $person = int rand 60;
	my $device = "a$person-" . int rand 3;
	my $at = sprintf '2026-01-%02dT%02d:%02d:%02dZ', 1 + int rand 28, int rand 24, int rand 60, int rand 60;
	my $kind = rand;

	return identify("w$writer-$n", "u$person", $device, "p$person\@example.com", ('free', 'pro', 'team')[ int rand 3 ], $at)
	  if $kind < 0.2;
	return track("w$writer-$n", "u$person", $device, 'Order Completed', $at) if $kind < 0.5;
	# anonymous
	return qq({"type":"track","messageId":"w$writer-$n","anonymousId":"$device","event":"Product Viewed","timestamp":"$at"});
}

# Messages in the order of their sending; a message is sent again, as it was, until it is acknowledged.
my @messages = map { [] } 1 .. WRITERS;
my @acknowledged = map { 0 } 1 .. WRITERS;

# Write a writer's script: even writers ingest one by one, odd ones copy seven at a time.
sub write_script
{
	my ($writer) = @_;
	my $from = $acknowledged[$writer];
	my $queue = $messages[$writer];

	push @$queue, message($writer, scalar @$queue) while @$queue < $from + PER_CYCLE->[ $writer % 2 ];
	open my $file, '>', "$dir/$writer.sql" or die $!;
	for (my $n = $from; $n < @$queue;)
	{
		if ($writer % 2 == 0)
		{
			print $file 'SELECT cdp.ingest(', as_sql($queue->[ $n++ ]), ") \\g /dev/null\n\\echo ack $n\n";
		}
		else
		{
			my $to = $n + 7 < @$queue ? $n + 7 : scalar @$queue;
			print $file "COPY cdp.inbox (payload) FROM STDIN WITH (FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02');\n",
			  (map { "$_\n" } @$queue[ $n .. $to - 1 ]), "\\.\n\\echo ack $to\n";
			$n = $to;
		}
	}
	close $file;
	return;
}

# Note what the client was told is committed.
sub read_acknowledgements
{
	my ($writer) = @_;
	my @acks = slurp_file("$dir/$writer.out") =~ m/^ack (\d+)$/mg;
	$acknowledged[$writer] = $acks[-1] if @acks;
	return scalar @acks;
}

for my $cycle (1 .. $cycles)
{
	my @writers;
	my $before = $node->safe_psql('cdp', 'SELECT count(*) FROM cdp.events');

	for my $writer (0 .. WRITERS - 1)
	{
		write_script($writer);
		push @writers, IPC::Run::start(
			[ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('cdp'), '-f', "$dir/$writer.sql" ],
			'>', "$dir/$writer.out", '2>', "$dir/$writer.err");
	}
	ok($node->poll_query_until('cdp',
			"SELECT count(*) >= $before + " . BEFORE_KILL . ' FROM cdp.events'), "cycle $cycle: messages flow");
	kill_all($node);
	$_->finish for @writers;
	my $left = grep { slurp_file("$dir/$_.err") =~ m/connection to server was lost|server closed the connection|FATAL|terminating/ } 0 .. WRITERS - 1;
	cmp_ok($left, '>', 0, "cycle $cycle: $left of " . WRITERS . ' writers were cut off');
	my @errors = map { slurp_file("$dir/$_.err") =~ m/^.*(?:ERROR:.*)$/mg } 0 .. WRITERS - 1;
	is("@errors", '', "cycle $cycle: no writer met an error before");
	read_acknowledgements($_) for 0 .. WRITERS - 1;
	$node->start;
}

# drain by hand, beside the worker
$node->poll_query_until('cdp', 'SELECT messages = 0 AND (SELECT count(*) = 0 FROM cdp.inbox) FROM cdp.process()');

open my $list, '>', "$dir/acknowledged" or die $!;
for my $writer (0 .. WRITERS - 1)
{
	print $list "w$writer-$_\n" for 0 .. $acknowledged[$writer] - 1;
}
close $list;
$node->safe_psql('cdp', "CREATE TABLE public.acknowledged (message_id text)");
$node->safe_psql('cdp', "COPY public.acknowledged FROM STDIN;\n" . slurp_file("$dir/acknowledged") . "\\.\n");
my $total = $node->safe_psql('cdp', 'SELECT count(*) FROM public.acknowledged');
note "$total messages acknowledged, " . $node->safe_psql('cdp', 'SELECT count(*) FROM cdp.events') . ' stored';
cmp_ok($total, '>', 0, 'something was acknowledged');

is($node->safe_psql('cdp', 'SELECT count(*) FROM public.acknowledged AS a WHERE NOT EXISTS (SELECT FROM cdp.events AS e WHERE e.message_id = a.message_id)'),
	'0', 'every acknowledged message is stored');
is($node->safe_psql('cdp', 'SELECT count(*) FROM (SELECT message_id FROM cdp.events GROUP BY message_id HAVING count(*) > 1) AS twice'),
	'0', 'no message is stored twice');
is($node->safe_psql('cdp', 'SELECT count(*) FROM cdp.rejected'), '0', 'none was rejected');
is($node->safe_psql('cdp', 'SELECT coalesce(string_agg(part || $$: $$ || differences, $$, $$), $$none$$) FROM cdp.verify() WHERE differences <> 0'),
	'none', 'cdp.verify() finds no difference');

# the people that come out, told by their identifiers, with their traits
my $people = <<~'END';
	WITH person AS (
		SELECT profile_id, string_agg(namespace || ':' || value, ' ' ORDER BY namespace, value) AS identifiers
		FROM cdp.identifiers GROUP BY profile_id)
	SELECT person.identifiers, p.traits FROM person LEFT JOIN cdp.profiles AS p USING (profile_id) ORDER BY 1
	END
my $links = 'SELECT namespace_a, value_a, namespace_b, value_b, first_seen_at, last_seen_at, event_count, status FROM cdp.links ORDER BY 1, 2, 3, 4';
$node->safe_psql('postgres', 'CREATE DATABASE replay');
set_up($node, 'replay');
$node->safe_psql('cdp', "COPY (SELECT message FROM cdp.events ORDER BY md5(message_id)) TO '$dir/log' WITH (FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02')");
$node->safe_psql('replay', "COPY cdp.inbox (payload) FROM '$dir/log' WITH (FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02'); SELECT cdp.wake_worker();");
ok($node->poll_query_until('replay', 'SELECT count(*) = 0 FROM cdp.inbox'), 'the log was replayed in another order');
is($node->safe_psql('replay', 'SELECT count(*) FROM cdp.events'), $node->safe_psql('cdp', 'SELECT count(*) FROM cdp.events'), 'all of it');
my @here = split /\n/, $node->safe_psql('cdp', $people);
my @there = split /\n/, $node->safe_psql('replay', $people);
cmp_ok(scalar @here, '>', 0, 'there are ' . @here . ' people');
is_deeply(\@there, \@here, 'and it makes the same people with the same traits');
is($node->safe_psql('replay', $links), $node->safe_psql('cdp', $links), 'for the same reasons');

$node->stop;
done_testing();
