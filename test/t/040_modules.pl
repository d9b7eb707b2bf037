# The libraries of others are opened when a session first needs them, or by a server that preloads cdp for all; without them all else works.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use CdpCluster;
use File::Copy 'copy';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('modules', preload => 0);
set_up($node, 'postgres');
plan skip_all => 'no /proc' if !-r "/proc/$$/maps";

# What a session has mapped of these libraries after some statements.
sub mapped
{
	my ($sql) = @_;
	my %found; # not libidn2: Debian's server has it for itself

	my $maps = $node->safe_psql('postgres', "SET client_min_messages = warning; $sql;
		CREATE TEMP TABLE map (line text);
		DO \$\$ BEGIN EXECUTE format('COPY map FROM %L WITH (DELIMITER E''\\x01'')', '/proc/' || pg_backend_pid() || '/maps'); END \$\$;
		SELECT line FROM map");
	$found{$1} = 1 while $maps =~ m{/(cdp_phone|cdp_domain|libphonenumber)\.so}g;
	return join ' ', sort keys %found;
}

sub ingest { return "SELECT cdp.ingest('{\"type\":\"identify\",\"userId\":\"u\",\"traits\":{$_[0]}}', 'modules')" }

is(mapped('SELECT 1'), '', 'a session that does nothing has opened none');
is(mapped(ingest('"email":"Ada@Example.com","plan":"pro"')), '', 'nor has one that took an address in ASCII');
is(mapped("SELECT cdp.create_source('modules'); SELECT * FROM cdp.verify(); SELECT cdp.profile('email:ada\@example.com')"), '', 'nor one that reads');
is(mapped(ingest('"phone":"+49 171 1234567"')), 'cdp_phone libphonenumber', 'the first phone number opens one');
is(mapped(ingest('"email":"ada@bücher.example"')), 'cdp_domain', 'the first domain beyond ASCII the other');

# a server that preloads cdp has opened them before any session begins
my $preloaded = new_node('preloaded');
my ($postmaster) = slurp_file($preloaded->data_dir . '/postmaster.pid') =~ /^(\d+)/;
like(slurp_file("/proc/$postmaster/maps"), qr{/$_\.so}, "preloaded: $_") for qw(cdp_phone libphonenumber cdp_domain);
set_up($preloaded, 'postgres');
$preloaded->safe_psql('postgres', q(INSERT INTO cdp.inbox (payload) VALUES ('{"type":"identify","userId":"w","traits":{"phone":"+1 650 253 0000"}}'); SELECT cdp.wake_worker()));
ok($preloaded->poll_query_until('postgres', "SELECT count(*) = 1 FROM cdp.identifiers WHERE value = '+16502530000'"), 'the worker reads a phone number');
$preloaded->stop;

# where the modules are missing: an error that helps, and only where they are needed
my $bare = PostgreSQL::Test::Utils::tempdir();
my $library = `pg_config --pkglibdir`;
chomp $library;
for my $file ('cdp.so', 'plpgsql.so')    # from 18 on plpgsql is looked for there, too
{
	copy("$library/$file", "$bare/$file") or BAIL_OUT("cannot copy $library/$file");
}
my $other = new_node('bare', conf => "dynamic_library_path = '$bare:/nowhere'\n");
like(slurp_file($other->logfile), qr/LOG:  could not open the module $_\n.*?HINT:  [^\n]*make install/s, "$_ is missed in the log of a server, which starts") for qw(cdp_phone cdp_domain);
set_up($other, 'postgres');
is($other->safe_psql('postgres', q(SELECT events FROM cdp.ingest('{"type":"identify","userId":"u","traits":{"email":"Ada@Example.com"}}'))), '1', 'a message without a phone number needs none');
for my $case (
	[ 'cdp_phone', 'libphonenumber', q(SELECT cdp.ingest('{"type":"identify","userId":"u","traits":{"phone":"+49 171 1234567"}}')) ],
	[ 'cdp_domain', 'libidn2', q(SELECT cdp.ingest('{"type":"identify","userId":"u","traits":{"email":"ada@bücher.example"}}')) ],
	[ 'cdp_phone', 'libphonenumber', q(SELECT cdp.create_source('crm', phone_region => 'DE')) ])
{
	my ($module, $of, $sql) = @$case;
	my ($status, $out, $error) = $other->psql('postgres', "\\set VERBOSITY verbose\n$sql");

	like($error, qr/ERROR:  58P01: could not open the module $module\n.*HINT:  .*needs $of\./s, "without $module: error and hint");
	unlike($error, qr/171|bücher/, 'which shows nobody\'s data');
}
is($other->safe_psql('postgres', 'SELECT count(*) FROM cdp.event'), '1', 'and nothing was stored');

$other->stop;
$node->stop;
done_testing();
