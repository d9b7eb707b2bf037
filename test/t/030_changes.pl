# A subscriber with nothing but stock PostgreSQL follows the changes: all of them, in order, also when the
# publisher is killed in between.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use CdpCluster;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $publisher = new_node('publisher', streaming => 'logical', conf => "max_connections = 20\n");
my $subscriber = new_node('subscriber', preload => 0, conf => "max_logical_replication_workers = 4\n");

set_up($publisher, 'postgres');

# the subscriber has neither the extension nor its types
my $columns = $publisher->safe_psql('postgres', <<~'END');
	SELECT string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY a.attnum)
	FROM pg_attribute AS a WHERE a.attrelid = 'cdp.change'::regclass AND a.attnum > 0 AND NOT a.attisdropped
	END
unlike($columns, qr/cdp\./, 'cdp.change needs no types of ours');
$subscriber->safe_psql('postgres', <<~"END");
	CREATE SCHEMA cdp;
	CREATE TABLE cdp.change ($columns);
	CREATE TABLE public.arrival (arrived bigint GENERATED ALWAYS AS IDENTITY, change_id bigint);
	CREATE FUNCTION public.note_arrival() RETURNS trigger LANGUAGE plpgsql AS
		'BEGIN INSERT INTO public.arrival (change_id) VALUES (new.change_id); RETURN new; END';
	CREATE TRIGGER note_arrival BEFORE INSERT ON cdp.change FOR EACH ROW EXECUTE FUNCTION public.note_arrival();
	ALTER TABLE cdp.change ENABLE ALWAYS TRIGGER note_arrival;
	CREATE SUBSCRIPTION marketing CONNECTION @{[ as_sql($publisher->connstr('postgres')) ]} PUBLICATION cdp_changes WITH (synchronous_commit = on);
	END
$subscriber->wait_for_subscription_sync($publisher, 'marketing');

my $sent = 0;

# Send so many messages of people that come to be, change and merge.
sub send_messages
{
	my ($n) = @_;
	my @payloads;

	for (1 .. $n)
	{
		my $person = $sent % 40;
		push @payloads, identify("m$sent", "u$person", "a$sent", "p$person\@example.com", ('free', 'pro')[ $sent % 2 ]);
		$sent++;
	}
	$publisher->safe_psql('postgres',
		"COPY cdp.inbox (payload) FROM STDIN WITH (FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02');\n" . join("\n", @payloads) . "\n\\.\nSELECT cdp.wake_worker();\n");
	return;
}

# Wait until all is processed and has arrived.
sub catch_up
{
	$publisher->poll_query_until('postgres', 'SELECT count(*) = 0 FROM cdp.inbox') or return 0;
	my ($n, $last) = split /\|/, $publisher->safe_psql('postgres', 'SELECT count(*), max(change_id) FROM cdp.change');
	return $subscriber->poll_query_until('postgres', "SELECT count(*) >= $n FROM cdp.change");
}

# The changes as text, to be compared.
sub changes
{
	my ($node) = @_;
	return $node->safe_psql('postgres', 'SELECT c FROM cdp.change AS c ORDER BY change_id');
}

send_messages(100);
ok(catch_up(), 'the subscriber catches up');
cmp_ok($publisher->safe_psql('postgres', 'SELECT count(*) FROM cdp.change'), '>', 0, 'there are changes');
is(changes($subscriber), changes($publisher), 'with the same rows');

for my $cycle (1 .. 3)
{
	my $before = $publisher->safe_psql('postgres', 'SELECT count(*) FROM cdp.change');
	send_messages(400);
	$publisher->poll_query_until('postgres', "SELECT count(*) > $before FROM cdp.change");
	kill_all($publisher);
	$publisher->start;
	ok(catch_up(), "cycle $cycle: it catches up after a kill of the publisher");
	is(changes($subscriber), changes($publisher), "cycle $cycle: none lost, none twice");
}
kill_all($subscriber);
send_messages(200);
$subscriber->start;
ok(catch_up(), 'and after a kill of the subscriber');
is(changes($subscriber), changes($publisher), 'with the same rows');

is($subscriber->safe_psql('postgres',
		'SELECT count(*) FROM (SELECT change_id, lag(change_id) OVER (ORDER BY arrived) AS before FROM public.arrival) AS a WHERE change_id <= before'),
	'0', 'they arrived in order');

$subscriber->safe_psql('postgres', 'DROP SUBSCRIPTION marketing');
$subscriber->stop;
$publisher->stop;
done_testing();
