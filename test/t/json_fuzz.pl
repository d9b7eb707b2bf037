# Mutated messages: whatever comes in, it becomes events or is rejected, the counts add up, nothing raises,
# nothing crashes, and what was derived from them can be derived again from the log.
#
# Valid messages are mutated character by character (UTF-8 stays valid) and value by value, and fed through
# cdp.ingest() one by one and through COPY cdp.inbox and cdp.process() in batches: both must say the same.
# In a database of its own of the server that PGHOST, PGPORT and PGUSER name.
#
#   N=12000 SEED=1 PGHOST=/tmp/x PGUSER=postgres perl test/t/json_fuzz.pl
#
# Needs perl-base and psql only.
use strict;
use warnings;
use utf8;

my $n_payloads = $ENV{N} // 12000;
my $seed = $ENV{SEED} // 1;
my $database = 'json_fuzz';
my $tests = 0;
my $bad = 0;

$ENV{PGCLIENTENCODING} = 'UTF8';
$ENV{PGTZ} = 'UTC';
delete @ENV{qw(PGDATABASE PGOPTIONS PGSERVICE PSQLRC)};
binmode STDOUT, ':encoding(UTF-8)';
srand $seed;

sub ok
{
	my ($is_ok, $name, @why) = @_;
	$tests++;
	$bad++ if !$is_ok;
	print $is_ok ? 'ok' : 'not ok', " $tests - $name\n";
	print "#   $_\n" for $is_ok ? () : map { split /\n/ } @why;
	return $is_ok;
}

# Run a script; what it printed, and what it was told.
sub psql
{
	my ($db, $script) = @_;
	my $file = ($ENV{TESTDATADIR} // "/tmp") . "/json_fuzz.$$";

	utf8::encode($script);
	open my $in, '>:raw', "$file.sql" or die "cannot write $file.sql: $!\n";
	print $in $script;
	close $in;
	my $out = `psql -X -q -A -t -F ' ' -v VERBOSITY=terse -d $db -f $file.sql 2>$file.err`;
	open my $err, '<:encoding(UTF-8)', "$file.err" or die "cannot read $file.err: $!\n";
	my $told = do { local $/; <$err> } // '';
	unlink "$file.sql", "$file.err";
	$told =~ s/^.*NOTICE:.*\n//mg;
	chomp $out;
	return ($out, $told);
}

# What SDKs send, and what is like it.
my @valid = (
	'{"type":"identify","messageId":"m1","userId":"u1","anonymousId":"a1","traits":{"email":"Ada@Example.com","phone":"+49 30 123456","plan":"pro","age":36,"tags":["a","b"],"address":{"city":"Zürich","zip":"8000"},"gone":null},"timestamp":"2026-01-31T11:00:00.123Z"}',
	'{"type":"track","messageId":"m2","userId":"u1","event":"Order Completed","properties":{"revenue":99.90,"currency":"USD","products":[{"id":1,"price":9.99},{"id":2,"price":1e2}],"coupon":""},"context":{"ip":"10.0.0.1","device":{"id":"D1","advertisingId":"AD-1"},"page":{"path":"/x","referrer":null},"consent":{"categoryPreferences":{"marketing":true,"analytics":false}}}}',
	'{"type":"page","messageId":"m3","anonymousId":"a1","name":"Home","properties":{"url":"https:\/\/example.com\/?q=\u00e9\u20ac"},"originalTimestamp":"2026-01-31T10:00:00Z","sentAt":"2026-01-31T10:00:05Z"}',
	'{"type":"screen","messageId":"m4","anonymousId":"a2","userId":null,"name":"Größe \ud83d\ude00","integrations":{"All":true,"Ads":false}}',
	'{"type":"group","messageId":"m5","userId":"u2","groupId":"g1","traits":{"name":"Acme","employees":120}}',
	'{"type":"alias","messageId":"m6","previousId":"a2","userId":"u2"}',
	'{"type":"track","messageId":7,"userId":42,"event":"Numbers","properties":{"a":-0,"b":1.5e-7,"c":12345678901234567890,"d":0.10,"e":[1,[2,[3]]]},"context":{"externalIds":[{"id":"u3","type":"user_id","collection":"users"},{"id":"x@y.org","type":"email"},{"id":9,"type":"phone"}],"traits":{"email":" B@X.org"}}}',
	'{"batch":[{"type":"track","messageId":"b1","anonymousId":"a3","event":"One"},{"type":"identify","messageId":"b2","userId":"u4","traits":{"a":1,"a":2}},{"type":"page","messageId":"b3","anonymousId":"a3","context":{"library":{"name":"own"}}}],"sentAt":"2026-01-31T12:00:00Z","writeKey":"SECRETKEY","context":{"library":{"name":"sdk","version":"1.0"},"device":{"id":"D2"}},"integrations":{"All":true}}',
	'{"batch":[{"type":"track","anonymousId":"a4","event":"No id","context":null},{"type":"track","messageId":"","anonymousId":"a4","event":"Empty id"}]}');

# Values put in the place of others, and names in the place of names.
my @values = ('null', 'true', 'false', '0', '-0', '1e5', '1e308', '1e999', '1e1001', '1e999999', '-1E-999', '0.' . ('0' x 300) . '1', '9' x 400, '9' x 1001, '""', '"\u0000"', '"\ud800"', '"a\u0000b"', '"\udc00\ud800x"', '"😀"', '[]', '{}', '[[]]', '{"":{}}',
	'{"a":1,"a":2,"a":{"b":3}}', '[' x 50 . ']' x 50, '[' x 98 . ']' x 98, '[' x 101 . ']' x 101, '{"a":' x 99 . '1' . '}' x 99, '[' x 3000 . ']' x 3000, '"' . 'x' x 600 . '"', '"' . 'é' x 300 . '"', '"' . 'y' x 33000 . '"',
	'"0001-01-01T00:00:00Z"', '"9999-12-31T23:59:59.999999Z"', '"2000-01-01T00:00:00Z"', '"2026-02-30T00:00:00Z"', '"infinity"', '"2026-01-31"', '"none"', '" NULL "', '"00000000-0000-0000-0000-000000000000"', '"u1"', '"a1"', '"m1"', '"track"', '"identify"', '"alias"', '"group"',
	'"+1 (650) 555-0100"', '"0049"', '{"marketing":true}', '{"categoryPreferences":{"marketing":1,"":true,"\u0000":false}}', '[{"id":"u1","type":"user_id"},{"id":"u2","type":"user_id"},{"id":null,"type":"email"},{"id":{},"type":"phone"},7]', '{"email":[1],"phone":{}}', '{"id":"D1"}');
my @names = ('type', 'event', 'userId', 'anonymousId', 'messageId', 'traits', 'context', 'properties', 'timestamp', 'sentAt', 'originalTimestamp', 'groupId', 'previousId', 'integrations', 'batch', 'writeKey', 'name', 'externalIds', 'device', 'consent', 'email', '', '\u0074ype', 'b\u0061tch', 'a\u0000', '\ud800', 'k' x 300);
my @characters = (split(//, '{}[]":,\\/ 0123456789-+.eEtrufalsn' . "\t\n\r\b\f\x{1f}\x{7f}"), "\x{80}", "\x{a0}", "\x{e9}", "\x{7ff}", "\x{800}", "\x{2028}", "\x{feff}", "\x{fffd}", "\x{ffff}", "\x{10000}", "\x{1f600}", "\x{10ffff}");

sub pick { return $_[ rand @_ ] }

# Replace a value or a name by another.
sub mutate_token
{
	my ($text) = @_;
	my @at;
	my $is_name = rand() < 0.25;

	if ($is_name)
	{
		push @at, [ $-[1], $+[1] - $-[1] ] while $text =~ /"([^"\\]*)"\s*:/g;
	}
	else
	{
		push @at, [ $-[1], $+[1] - $-[1] ] while $text =~ /:\s*("[^"\\]*"|-?[0-9.eE+-]+|true|false|null|\{\}|\[\])/g;
	}
	return $text if !@at;
	my ($from, $length) = @{ pick(@at) };
	substr $text, $from, $length, $is_name ? pick(@names) : pick(@values);
	return $text;
}

# Change, drop, double or move a few characters.
sub mutate_characters
{
	my ($text) = @_;
	my $kind = int rand 6;
	my $length = length $text;
	my $at = int rand($length + 1);
	my $span = 1 + int rand(rand() < 0.8 ? 3 : 60);

	$span = $length - $at if $at + $span > $length;
	if ($kind <= 1) { substr $text, $at, $span > 0 ? 1 : 0, pick(@characters) }
	elsif ($kind == 2) { substr $text, $at, 0, join '', map { pick(@characters) } 1 .. 1 + rand 3 }
	elsif ($kind == 3) { substr $text, $at, $span, '' }
	elsif ($kind == 4) { substr $text, $at, 0, substr $text, $at, $span }
	else { $text = substr($text, 0, $at) . substr(pick(@valid), int rand 60) }
	return $text;
}

sub mutate
{
	my ($text, $n) = @_;

	$text =~ s/"messageId":"(\w+)"/"messageId":"$1-$n"/g if rand() < 0.9;
	for (1 .. 1 + rand(rand() < 0.7 ? 2 : 8))
	{
		$text = rand() < 0.6 ? mutate_token($text) : mutate_characters($text);
	}
	return $text;
}

# A payload as COPY's text format wants it.
sub copied
{
	my ($text) = @_;
	my %escape = ("\\" => '\\\\', "\n" => '\\n', "\r" => '\\r', "\t" => '\\t', "\b" => '\\b', "\f" => '\\f', "\x0b" => '\\v');
	$text =~ s/([\\\n\r\t\f\x08\x0b])/$escape{$1}/g;
	return $text;
}

my ($out, $told) = psql('postgres', "DROP DATABASE IF EXISTS $database;\nCREATE DATABASE $database TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';\n");
ok($told eq '', 'a database', $told) or exit 1;

my @payloads = (@valid, map { my $p = mutate(pick(@valid), $_); length $p > 200000 ? substr($p, 0, 200000) : $p } 1 .. $n_payloads);
($out, $told) = psql($database, join "\n", "CREATE EXTENSION cdp; SELECT cdp.init();", "SET client_min_messages = warning;",
	"CREATE TABLE fuzz (id integer GENERATED ALWAYS AS IDENTITY, payload text);", "COPY fuzz (payload) FROM STDIN;", (map { copied($_) } @payloads), "\\.", "SELECT count(*) FROM fuzz;");
$out =~ s/^\s+//;
ok($told eq '' && $out eq @payloads, 'a table of ' . @payloads . ' payloads', $out, $told) or exit 1;

# one at a time; a hundred a transaction, so that one that raises does not hide the others
my $calls = "SET cdp.clock = '2026-01-31T12:00:00Z';\nSET client_min_messages = warning;\nCREATE TABLE outcome (id integer, messages bigint, events bigint, duplicates bigint, rejected bigint, errors jsonb);\n";
for (my $from = 1; $from <= @payloads; $from += 100)
{
	$calls .= "INSERT INTO outcome SELECT f.id, i.* FROM (SELECT * FROM fuzz WHERE id BETWEEN $from AND $from + 99 ORDER BY id OFFSET 0) AS f, LATERAL (SELECT * FROM cdp.ingest(f.payload, 'calls') OFFSET 0) AS i;\n";
}
($out, $told) = psql($database, $calls);
ok($told eq '', 'cdp.ingest() raises for none', $told);

($out, $told) = psql($database, "SELECT count(*) FROM fuzz LEFT JOIN outcome o USING (id) WHERE o.messages IS NULL OR o.messages < 1 OR o.messages <> o.events + o.duplicates + o.rejected OR coalesce(jsonb_array_length(o.errors), 0) <> o.rejected;");
ok($told eq '' && $out eq '0', 'each payload is events, duplicates or rejected', $out, $told);
my ($sums) = psql($database, "SELECT sum(messages), sum(events), sum(duplicates), sum(rejected) FROM outcome;");
($out) = psql($database, "SELECT (SELECT count(*) FROM cdp.event e JOIN cdp.source s USING (source_id) WHERE s.name = 'calls'), (SELECT count(*) FROM cdp.rejected WHERE source = 'calls');");
my (undef, $events, undef, $rejected) = split / /, $sums;
ok($out eq "$events $rejected", "what they say is there: messages, events, duplicates, rejected: $sums", $out);
ok($events > @payloads / 20 && $rejected > @payloads / 20, 'both kinds are many');

# all at once, in batches of any size
($out, $told) = psql($database, join "\n", 'COPY cdp.inbox (source, received_at, payload) FROM STDIN;', (map { "batches\t2026-01-31 12:00:00+00\t" . copied($_) } @payloads), "\\.", <<~'SQL');
	SET cdp.clock = '2026-01-31T12:00:00Z';
	SET client_min_messages = warning;
	CREATE TABLE batch (messages bigint, events bigint, duplicates bigint, rejected bigint);
	DO $$
	DECLARE
		size integer := 1;
	BEGIN
		WHILE EXISTS (SELECT FROM cdp.inbox) LOOP
			INSERT INTO batch SELECT p.messages, p.events, p.duplicates, p.rejected FROM cdp.process(size) p;
			size := size % 1000 * 3 + 1;
		END LOOP;
	END
	$$;
	SELECT sum(messages), sum(events), sum(duplicates), sum(rejected) FROM batch;
	SQL
ok($told eq '', 'COPY and cdp.process() raise for none', $told);
ok($out eq $sums, 'and say the same', "one by one  $sums", "in batches  $out");
my $difference = <<~'SQL';
	SELECT count(*) FROM (SELECT reason, detail, payload FROM cdp.rejected WHERE source = 'calls') a FULL JOIN (SELECT reason, detail, payload FROM cdp.rejected WHERE source = 'batches') b ON a.reason = b.reason AND a.detail = b.detail AND md5(a.payload) = md5(b.payload)
	WHERE a.reason IS NULL OR b.reason IS NULL;
	SQL
($out, $told) = psql($database, $difference);
ok($told eq '' && $out eq '0', 'for the same reasons', $out, $told);

# the log can be read, and gives what is stored
($out, $told) = psql($database, "SELECT count(*) FROM (SELECT e::text FROM cdp.events e) x WHERE x.e IS NULL; SELECT count(*) FROM cdp.rejected WHERE payload ~ 'writeKey\"\\s*:\\s*\"SECRETKEY' AND cdp.parse_json(payload) IS NOT NULL;");
ok($told eq '' && $out eq "0\n0", 'every event can be read; no key is kept in what is JSON', $out, $told);
($out, $told) = psql($database, "SELECT count(*) FROM cdp.fragment WHERE NOT cdp.is_same(traits::text::cdp.traits, traits) OR NOT cdp.is_same(consents::text::cdp.consent_state, consents);");
ok($told eq '' && $out eq '0', 'every map can be written and read', $out, $told);
($out, $told) = psql($database, "SELECT part, differences FROM cdp.verify() WHERE differences <> 0;");
ok($told eq '' && $out eq '', 'everything can be derived again', $out, $told);

# what was rejected can be put back: it is rejected again (but for a few that without their keys are within a limit)
($out, $told) = psql($database, <<~'SQL');
	SET cdp.clock = '2026-01-31T12:00:00Z';
	CREATE TEMPORARY TABLE replayed AS SELECT cdp.replay_rejected() AS n;
	CREATE TEMPORARY TABLE again (messages bigint, rejected bigint);
	DO $$ BEGIN WHILE EXISTS (SELECT FROM cdp.inbox) LOOP INSERT INTO again SELECT p.messages, p.rejected FROM cdp.process() p; END LOOP; END $$;
	SELECT r.n = a.messages AND a.rejected = (SELECT count(*) FROM cdp.rejected) AND a.rejected > 0.99 * r.n FROM replayed r, (SELECT sum(messages) AS messages, sum(rejected) AS rejected FROM again) a;
	SQL
ok($told eq '' && $out eq 't', 'replayed, they are rejected again', $out, $told);
psql('postgres', "DROP DATABASE $database;\n") if !$bad;
print "1..$tests\n";
exit($bad ? 1 : 0);
