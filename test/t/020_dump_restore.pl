# pg_dump carries all of it: tables, partitions, policies, sequences, comments, publication; a restored platform
# goes on where the dumped one was; a worker that is there waits until the restore is over.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use CdpCluster;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir();
my $node = new_node('dump', preload => 0, streaming => 'logical');
my $target = new_node('target', streaming => 'logical');

# Everything a catalog says of our objects, as lines to compare.
my %catalog = (
	relations => <<~'END',
		SELECT c.oid::regclass, c.relkind, c.relpersistence, c.relrowsecurity, c.relforcerowsecurity, c.relreplident, c.reloptions,
			pg_get_partkeydef(c.oid), pg_get_expr(c.relpartbound, c.oid), c.relispopulated, pg_get_userbyid(c.relowner)
		FROM pg_class AS c WHERE c.relnamespace = 'cdp'::regnamespace ORDER BY c.oid::regclass::text
		END
	columns => <<~'END',
		SELECT a.attrelid::regclass, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated,
			a.attstorage, a.attcompression, pg_get_expr(d.adbin, d.adrelid)
		FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
		LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
		WHERE c.relnamespace = 'cdp'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
		ORDER BY a.attrelid::regclass::text, a.attnum
		END
	inheritance => <<~'END',
		SELECT inhrelid::regclass, inhparent::regclass FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
		WHERE c.relnamespace = 'cdp'::regnamespace ORDER BY inhrelid::regclass::text
		END
	indexes => "SELECT indexdef FROM pg_indexes WHERE schemaname = 'cdp' ORDER BY indexdef",
	constraints => <<~'END',
		SELECT conrelid::regclass, conname, pg_get_constraintdef(oid), convalidated FROM pg_constraint
		WHERE connamespace = 'cdp'::regnamespace ORDER BY conrelid::regclass::text, conname
		END
	'views and rules' => "SELECT viewname, definition FROM pg_views WHERE schemaname = 'cdp' ORDER BY viewname",
	triggers => <<~'END',
		SELECT pg_get_triggerdef(t.oid) FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
		WHERE c.relnamespace = 'cdp'::regnamespace AND NOT t.tgisinternal ORDER BY 1
		END
	policies => "SELECT tablename, policyname, permissive, roles, cmd, qual, with_check FROM pg_policies WHERE schemaname = 'cdp' ORDER BY tablename, policyname",
	comments => <<~'END',
		SELECT (pg_identify_object(d.classoid, d.objoid, d.objsubid)).identity, d.description FROM pg_description AS d
		WHERE (pg_identify_object(d.classoid, d.objoid, d.objsubid)).schema = 'cdp' ORDER BY 1, 2
		END
	privileges => "SELECT oid::regclass, relacl FROM pg_class WHERE relnamespace = 'cdp'::regnamespace AND relacl IS NOT NULL ORDER BY oid::regclass::text",
	publications => <<~'END',
		SELECT p.pubname, p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate, p.pubviaroot, t.schemaname, t.tablename
		FROM pg_publication AS p LEFT JOIN pg_publication_tables AS t USING (pubname) ORDER BY p.pubname, t.tablename
		END
	sequences => "SELECT sequencename, data_type, start_value, increment_by, last_value FROM pg_sequences WHERE schemaname = 'cdp' ORDER BY sequencename",
	members => <<~'END',
		SELECT (pg_identify_object(classid, objid, objsubid)).identity FROM pg_depend
		WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e' AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'cdp') ORDER BY 1
		END
	rows => <<~'END');
		SELECT c.oid::regclass, (xpath('/row/n/text()', query_to_xml(format('SELECT count(*) AS n FROM %s', c.oid::regclass), false, true, '')))[1]
		FROM pg_class AS c WHERE c.relnamespace = 'cdp'::regnamespace AND c.relkind IN ('r', 'p', 'm', 'v') ORDER BY c.oid::regclass::text
		END

# The people with their identifiers and traits, profile ids and all; whose each event is; timelines; how links are judged.
my $people = <<~'END';
	SELECT i.namespace, i.value, i.profile_id, i.event_count, i.is_contested, p.traits FROM cdp.identifiers AS i LEFT JOIN cdp.profiles AS p USING (profile_id) ORDER BY 1, 2;
	SELECT message_id, anchor_value FROM cdp.events ORDER BY 1, 2;
	SELECT profile_id, month, events FROM cdp.timelines ORDER BY 1, 2, 3::text;
	SELECT namespace_a, value_a, namespace_b, value_b, status, reason FROM cdp.links ORDER BY 1, 2, 3, 4;
	SELECT ruling_id, kind, a, b, message_id, undone_at FROM cdp.ruling ORDER BY 1;
	END

# Compare two databases, catalog by catalog.
sub compare
{
	my ($there, $db, $what) = @_;
	subtest $what => sub {
		for my $part (sort keys %catalog)
		{
			is($there->safe_psql($db, $catalog{$part}), $node->safe_psql('original', $catalog{$part}), $part);
		}
		is($there->safe_psql($db, $people), $node->safe_psql('original', $people), 'people');
	};
	return;
}

# Go on where the original stood.
sub continue_in
{
	my ($there, $db, $what) = @_;
	subtest $what => sub {
		my $known = $there->safe_psql($db, "SELECT profile_id FROM cdp.identifiers WHERE value = 'u7'");
		my $highest = $there->safe_psql($db, 'SELECT max(profile_id) FROM cdp.identifiers');

		like($known, qr/^\d+$/, 'a known person');
		is($there->safe_psql($db, 'SELECT duplicates FROM cdp.ingest(' . as_sql(track('m7', 'u7', 'a7')) . ')'), '1', 'a repeated message is refused');
		$there->safe_psql($db, 'SELECT cdp.ingest(' . as_sql(track('after-1', 'u7', 'a7-new', 'Order Completed', '2026-03-01T00:00:00Z')) . ')');
		is($there->safe_psql($db, "SELECT DISTINCT profile_id FROM cdp.identifiers WHERE value IN ('u7', 'a7-new')"), $known, 'the known person is recognised');
		$there->safe_psql($db, 'SELECT cdp.ingest(' . as_sql(track('after-2', 'u-new', 'a-new')) . ')');
		cmp_ok($there->safe_psql($db, "SELECT profile_id FROM cdp.identifiers WHERE value = 'u-new'"), '>', $highest, 'a new person gets a new id');
		$there->safe_psql($db, 'SELECT cdp.ingest(' . as_sql(track('after-3', 'u3', 'a4')) . ')');
		$there->safe_psql($db, 'SELECT cdp.ingest(' . as_sql(track('after-4', 'on-till-3', 'till', 'Seen', '2026-01-01T11:00:00Z')) . ')');
		is($there->safe_psql($db, "SELECT anchor_value FROM cdp.events WHERE message_id = 'till-9'"), 'on-till-3', 'a late sign-in on a shared device takes over what follows');
		$there->safe_psql($db, 'SELECT cdp.undo(ruling_id) FROM cdp.ruling WHERE undone_at IS NULL ORDER BY ruling_id DESC');
		is($there->safe_psql($db, "SELECT count(*) FROM cdp.events WHERE message_id = 'm17'"), '1', 'a retracted message is put back');
		is($there->safe_psql($db, "SELECT event_count FROM cdp.identifiers WHERE value = 'u19'"), '6', 'a retracted identifier too');
		$there->safe_psql($db, "SELECT cdp.create_namespace('event_name', 'contact', paths => '{track:event}')");
		$there->safe_psql($db, "SELECT cdp.drop_namespace('event_name')");
		is($there->safe_psql($db, 'SET cdp.identity_max_component = 1000; SELECT cdp.resolve_frozen()'), '0', 'what was frozen is resolved');
		$there->safe_psql($db, 'SELECT cdp.init()');
		is($there->safe_psql($db, 'SELECT coalesce(string_agg(part || $$: $$ || differences, $$, $$), $$none$$) FROM cdp.verify() WHERE differences <> 0'),
			'none', 'cdp.verify() finds no difference');
	};
	return;
}

$node->safe_psql('postgres', 'CREATE DATABASE original');
set_up($node, 'original');
my $payloads = join ', ', map {
	'(' . as_sql($_ % 3
		? track("m$_", 'u' . $_ % 50, "a$_", 'Order Completed', sprintf('2026-0%d-01T00:00:00Z', 1 + $_ % 6))
		: identify("m$_", 'u' . $_ % 50, "a$_", 'p' . $_ % 50 . '@example.com', 'pro')) . ')'
} 1 .. 300;
$node->safe_psql('original', "INSERT INTO cdp.inbox (payload) VALUES $payloads; SELECT cdp.process();");
$node->poll_query_until('original', 'SELECT messages = 0 FROM cdp.process()');
$node->safe_psql('original', 'SELECT cdp.ingest($$not json$$)');
$node->safe_psql('original', "SELECT cdp.create_property('revenue')");
# a shared device, rulings of each kind, an undone one, other rules, a component that is frozen
$node->safe_psql('original', 'SELECT cdp.ingest(' . as_sql($_) . ')') for
	(map { track("till-$_", 'on-till-' . $_ % 3, 'till', 'Seen', sprintf('2026-01-01T%02d:00:00Z', 8 + $_)) } 1 .. 2),
	(map { qq({"type":"track","event":"Seen","messageId":"till-$_","anonymousId":"till","timestamp":"2026-01-01T@{[ 3 + $_ ]}:00:00Z"}) } 7 .. 9);
$node->safe_psql('original', <<~'END');
	SELECT cdp.retract('m17'::text, 'a test', 'default');
	SELECT cdp.retract('user_id:u19'::cdp.identifier, 'a test');
	SELECT cdp.retract('user_id:u21'::cdp.identifier, 'anonymous_id:a71'::cdp.identifier, 'a test');
	SELECT cdp.deny('user_id:u23', 'anonymous_id:a73', 'they differ');
	SELECT cdp.undo(cdp.pin('user_id:u27', 'anonymous_id:never-seen', 'they do not'));
	SELECT cdp.pin('user_id:u25', 'anonymous_id:never-seen', 'they are one');
	SELECT cdp.create_trait('plan', 'most_frequent', valid_pattern => '^[a-z]+$');
	SELECT cdp.lock_trait('user_id:u7', 'plan', '"gold"', 'a test');
	SELECT cdp.block_value('a99', 'anonymous_id');
	SELECT cdp.create_namespace('email', 'contact', 20, 3, normalizer => 'email', paths => '{identify:traits.email}');
	SET cdp.identity_max_component = 100;
	SELECT events FROM cdp.ingest((SELECT jsonb_build_object('batch', jsonb_agg(jsonb_build_object('type', 'track', 'event', 'Seen', 'messageId', 'ice-' || n,
		'userId', 'ice-' || n, 'anonymousId', 'ice'))) FROM generate_series(1, 120) n));
	END
is($node->safe_psql('original', 'SELECT count(*) FROM cdp.frozen_components'), '1', 'there is something frozen');
# a lookup, a table source and a transformation
$node->safe_psql('original', <<~'END');
	CREATE TABLE plans (plan text PRIMARY KEY, price int);
	INSERT INTO plans VALUES ('pro', 10);
	SELECT cdp.create_lookup('plans', 'plan', '{"price": "price"}');
	CREATE TABLE members (id text PRIMARY KEY, level int);
	INSERT INTO members VALUES ('u1', 1), ('u2', 2);
	SELECT cdp.create_table_source('members', '{"type": "identify", "userId": "id", "traits": {"level": "level"}}');
	SELECT cdp.read_table_source('members');
	CREATE FUNCTION clean(message jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT message || '{"is_clean": true}' $$;
	SELECT cdp.create_source('cleaned', transformation => 'clean(jsonb)');
	SELECT cdp.process();
	END
# merges and what is still to be processed
$node->safe_psql('original', 'SELECT cdp.ingest(' . as_sql(track('merge', 'u1', 'a2')) . ')');
$node->safe_psql('original', 'INSERT INTO cdp.inbox (payload) VALUES (' . as_sql(track('waiting', 'u2', 'a-waiting')) . '), (' . as_sql(track('m7', 'u7', 'a7')) . ')');
is($node->safe_psql('original', 'SELECT count(*) FROM cdp.events WHERE message_id ~ $$^m\d+$$'), '299', 'there is something to dump');

$node->command_ok([ 'pg_dump', '-Fc', '-d', $node->connstr('original'), '-f', "$dir/custom" ], 'pg_dump -Fc');
$node->command_ok([ 'pg_dump', '-d', $node->connstr('original'), '-f', "$dir/plain" ], 'pg_dump, plain');

$node->safe_psql('postgres', 'CREATE DATABASE custom TEMPLATE template0; CREATE DATABASE plain TEMPLATE template0; CREATE DATABASE parallel TEMPLATE template0;');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('custom'), "$dir/custom" ], 'pg_restore');
$node->command_ok([ 'pg_restore', '--exit-on-error', '--jobs=4', '-d', $node->connstr('parallel'), "$dir/custom" ], 'pg_restore --jobs');
$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-d', $node->connstr('plain'), '-f', "$dir/plain" ], 'psql');
compare($node, $_, "restored: $_") for qw(custom parallel plain);
continue_in($node, $_, "going on: $_") for qw(custom plain);

# where a worker is
$target->safe_psql('postgres', 'CREATE DATABASE sections TEMPLATE template0; CREATE DATABASE once TEMPLATE template0;');
for my $section (qw(pre-data data))
{
	$target->command_ok([ 'pg_restore', '--exit-on-error', "--section=$section", '-d', $target->connstr('sections'), "$dir/custom" ], "pg_restore --section=$section");
	$target->safe_psql('sections', 'SELECT cdp.wake_worker()');
	wait_state($target, 'sections', 'waiting for restore');
}
is($target->safe_psql('sections', 'SELECT count(*) FROM cdp.inbox'), '2', 'what waits in the inbox is not touched');
$target->command_ok([ 'pg_restore', '--exit-on-error', '--section=post-data', '-d', $target->connstr('sections'), "$dir/custom" ], 'pg_restore --section=post-data');
$target->command_ok([ 'pg_restore', '--exit-on-error', '--jobs=4', '-d', $target->connstr('once'), "$dir/custom" ], 'pg_restore --jobs');
for my $db (qw(sections once))
{
	ok($target->poll_query_until($db, 'SELECT count(*) = 0 FROM cdp.inbox'), "$db: the worker takes up the inbox when the restore is over");
	is($target->safe_psql($db, "SELECT string_agg(message_id, ' ' ORDER BY message_id) FROM cdp.events WHERE message_id IN ('waiting', 'm7')"),
		'm7 waiting', "$db: the new message once, the repeated one not again");
	continue_in($target, $db, "going on: $db");
}

# the way out
my ($code, $out, $err) = $node->psql('custom', 'DROP EXTENSION cdp');
isnt($code, 0, 'DROP EXTENSION refuses while there are data');
like($err, qr/cannot drop extension cdp because other objects depend on it/, 'and says why');
$node->safe_psql('postgres', 'CREATE DATABASE bare');
$node->safe_psql('bare', 'CREATE EXTENSION cdp; DROP EXTENSION cdp;');
is($node->safe_psql('bare', "SELECT count(*) FROM pg_namespace WHERE nspname = 'cdp'"), '0', 'without data it goes, and leaves nothing');
$node->safe_psql('bare', 'CREATE EXTENSION cdp; SELECT cdp.init();');
is($node->safe_psql('bare', 'SELECT messages FROM cdp.ingest(' . as_sql(track('m1', 'u', 'a')) . ')'), '1', 'and can come again');

$target->stop;
$node->stop;
done_testing();
