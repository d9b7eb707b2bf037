# Nothing is lost, nothing counts twice, nobody meets an error that is not documented, and what was derived is right,
# when sessions of every kind write about the same people at the same time: one message a transaction, several with
# savepoints, under each isolation level, prepared, rolled back; by COPY and cdp.process(); the same messages in
# several of them; stewards pin, deny, retract and undo; and an administrator makes indexes anew and sums up their ranges.
#
# CDP_SOAK=n runs n rounds, from another seed each.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use CdpCluster;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use constant MESSAGES => 150;    # of each writer

my $dir = PostgreSQL::Test::Utils::tempdir();
my $node = new_node('concurrency', preload => 0, conf => "max_prepared_transactions = 20\n");

# A message of 12 people with 3 devices each and now and then a shared address: they merge and split all the time.
sub message
{
	my ($id) = @_;
	my $person = int rand 12;
	my $device = "a$person-" . int rand 3;
	my $at = sprintf '2026-01-%02dT%02d:%02d:%02dZ', 1 + int rand 28, int rand 24, int rand 60, int rand 60;
	my $kind = rand;

	return identify($id, "u$person", $device, 'p' . int(rand 12) . '@example.com', ('free', 'pro', 'team')[ int rand 3 ], $at)
	  if $kind < 0.3;
	return track($id, "u$person", $device, 'Order Completed', $at) if $kind < 0.5;
	# anonymous
	return qq({"type":"track","messageId":"$id","anonymousId":"$device","event":"Product Viewed","timestamp":"$at"});
}

# A call that brings a message, and notes in the same transaction that it did.
sub ingest
{
	my ($message) = @_;
	my ($id) = $message =~ /"messageId":"([^"]+)"/;

	return "INSERT INTO public.sent SELECT '$id', errors FROM cdp.ingest(" . as_sql($message) . ");\n";
}

# What each kind of writer sends for some messages.
my %kinds = (
	single => sub { join '', map { ingest($_) } @_ },
	repeatable => sub { join '', map { "BEGIN ISOLATION LEVEL REPEATABLE READ;\n" . ingest($_) . "COMMIT;\n" } @_ },
	serializable => sub { join '', map { "BEGIN ISOLATION LEVEL SERIALIZABLE;\n" . ingest($_) . "COMMIT;\n" } @_ },
	several => sub { join '', "BEGIN;\n", (map { ingest($_) } @_), "COMMIT;\n" },
	savepoints => sub {
		join '', "BEGIN;\n", (map {
				"SAVEPOINT a;\n" . ingest($_) . (rand() < 0.3 ? "ROLLBACK TO a;\n" : "RELEASE a;\n")
			} @_), "COMMIT;\n";
	},
	prepared => sub { my ($id) = $_[0] =~ /"messageId":"([^"]+)"/; "BEGIN;\n" . ingest($_[0]) . "PREPARE TRANSACTION '$id';\nCOMMIT PREPARED '$id';\n" },
	rolled_back => sub { join '', map { my $end = rand() < 0.5 ? 'ROLLBACK' : 'COMMIT'; "BEGIN;\n" . ingest($_) . "$end;\n" } @_ },
	copied => sub {
		my @ids = map { /"messageId":"([^"]+)"/ } @_;
		"BEGIN;\nCOPY cdp.inbox (payload) FROM STDIN WITH (FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02');\n"
		  . join("\n", @_)
		  . "\n\\.\nINSERT INTO public.sent VALUES " . join(', ', map { "('$_')" } @ids) . ";\nCOMMIT;\n";
	});

# What a steward does.
sub steward
{
	my $sql = '';
	my $identifier = sub { ('user_id:u' . int rand 12, 'anonymous_id:a' . int(rand 12) . '-' . int rand 3, 'email:p' . int(rand 12) . '@example.com')[ int rand 3 ] };

	for (1 .. MESSAGES / 5)
	{
		my ($a, $b) = ($identifier->(), $identifier->());
		my $what = ('pin', 'deny', 'retract')[ int rand 3 ];

		$sql .= "SELECT cdp.$what('$a', '$b', 'test');\n";
		$sql .= "SELECT cdp.retract('$a'::cdp.identifier, 'test');\n" if rand() < 0.1;
		$sql .= "SELECT cdp.retract(message_id, 'test') FROM (SELECT message_id FROM public.sent ORDER BY random() LIMIT 1) AS s;\n" if rand() < 0.2;
		$sql .= "SELECT cdp.undo((SELECT ruling_id FROM cdp.ruling WHERE undone_at IS NULL ORDER BY random() LIMIT 1));\n" if rand() < 0.5;
	}
	return $sql;
}

# What an administrator does meanwhile.
sub administrate
{
	my @indexes = map { "cdp.$_" } qw(identity_pkey identity_namespace_value_key identity_profile_id_idx profile_pkey profile_component_id_idx link_pkey fragment_pkey seen_pkey timeline_part_pkey);
	my $sql = '';

	for (1 .. 3)
	{
		$sql .= "REINDEX INDEX CONCURRENTLY $_;\nSELECT brin_summarize_new_values('cdp.seen_received_at_idx');\n" for @indexes;
		$sql .= "VACUUM ANALYZE cdp.profile, cdp.identity, cdp.seen;\n";
	}
	return $sql;
}

# May a session of a kind meet an error?
sub is_documented
{
	my ($who, $state) = @_;

	return 1 if $who eq 'steward' && $state =~ /^(22004|22023|23514|42704)$/;    # contradictions, nothing there
	return 1 if $who =~ /^(repeatable|serializable)$/ && $state =~ /^(40001|25P02)$/;
	return 0;
}

for my $round (1 .. ($ENV{CDP_SOAK} || 1))
{
	my $db = "round$round";
	my (%sessions, $n_sent);

	srand(($ENV{SEED} || 1) + $round);
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	set_up($node, $db);
	$node->safe_psql($db, <<~'END');
		CREATE TABLE public.sent (message_id text, errors jsonb);
		SELECT cdp.create_segment('buyers', $$count('Order Completed') >= 2$$);
		SELECT cdp.create_trait('plan', 'most_frequent');
		SELECT cdp.create_trait('orders', computed => 'count(Order Completed)');
		SELECT cdp.create_property('revenue', 'Order Completed');
		END
	for my $kind (sort keys %kinds)
	{
		my $sql = '';
		my @queue = map { message("$kind-$_") } 1 .. MESSAGES;

		# a quarter is what others send, too
		$_ = message('common-' . int rand MESSAGES) for grep { rand() < 0.25 } @queue;
		$sql .= $kinds{$kind}->(splice @queue, 0, $kind eq 'prepared' ? 1 : 5) while @queue;
		$sessions{$kind} = $sql;
	}
	$sessions{steward} = steward();
	$sessions{administrator} = administrate();
	$sessions{process} = "SELECT cdp.process(20);\nSELECT cdp.maintain();\n" x (MESSAGES / 3);
	for my $who (keys %sessions)
	{
		open my $file, '>', "$dir/$who.sql" or die $!;
		print $file "\\set VERBOSITY verbose\n$sessions{$who}";
		close $file;
	}
	my @running = map {
		IPC::Run::start([ 'psql', '-Xq', '-d', $node->connstr($db), '-f', "$dir/$_.sql" ], '>', "$dir/$_.out", '2>', "$dir/$_.err")
	} sort keys %sessions;
	$_->finish for @running;

	for my $who (sort keys %sessions)
	{
		my $errors = slurp_file("$dir/$who.err");
		my @states = $errors =~ /(?:ERROR|FATAL|PANIC):  (\w{5}):/g;
		my @wrong = grep { !is_documented($who, $_) } @states;

		is("@wrong", '', "$who: errors only where they are documented");
		diag(join "\n", grep { /ERROR|WARNING|FATAL|DETAIL|HINT|CONTEXT/ } split /\n/, $errors) if @wrong;
		note "$who: " . scalar(@states) . ' errors: ' . join ' ', @states;
	}
	$node->poll_query_until($db, 'SELECT messages = 0 AND (SELECT count(*) = 0 FROM cdp.inbox) FROM cdp.process()');
	is($node->safe_psql($db, "SELECT coalesce(string_agg(part || ': ' || differences, ', '), 'none') FROM cdp.verify() WHERE differences <> 0"),
		'none', 'cdp.verify() finds no difference');
	$node->psql($db, "SELECT cdp.undo(ruling_id) FROM cdp.ruling WHERE undone_at IS NULL ORDER BY ruling_id DESC");
	is($node->safe_psql($db, 'SELECT count(*) FROM cdp.ruling WHERE undone_at IS NULL'), '0', 'all rulings are undone');
	is($node->safe_psql($db, 'SELECT count(*) FROM ((SELECT DISTINCT message_id FROM public.sent) EXCEPT ALL (SELECT message_id FROM cdp.events)) AS d'),
		'0', 'what was committed is there');
	is($node->safe_psql($db, 'SELECT count(*) FROM ((SELECT message_id FROM cdp.events) EXCEPT ALL (SELECT DISTINCT message_id FROM public.sent)) AS d'),
		'0', 'once, and nothing else is');
	is($node->safe_psql($db, 'SELECT count(*) FROM cdp.rejected'), '0', 'none was rejected');
	is($node->safe_psql($db, "SELECT coalesce(string_agg(part || ': ' || differences, ', '), 'none') FROM cdp.verify() WHERE differences <> 0"),
		'none', 'cdp.verify() finds no difference when rulings are undone');
	note $node->safe_psql($db, "SELECT count(*) || ' sent, deferred ' || count(errors) FROM public.sent");
}

$node->stop;
done_testing();
