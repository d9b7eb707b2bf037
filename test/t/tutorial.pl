# tutorial: what the documentation tells people to type, typed, and what it shows, compared.
#
# Every ```sql block of README.md and of the pages in docs/ runs in order, page by page, each page in a
# fresh database of the server that PGHOST, PGPORT and PGUSER name.  A page that does not say
# CREATE EXTENSION finds the platform set up.
#
# A block must run without an error; where a ```text block follows, nothing but blank lines between, the
# output of psql must be that text.  A block marked ```sql error must fail, with the ERROR, DETAIL and HINT
# lines of the ```text block behind it.  Blocks with other marks (```sql on another server) are not run.
#
#   PGHOST=/tmp/x PGUSER=postgres perl test/t/tutorial.pl [page.md ..]
#
# Needs perl-base and psql only.
use strict;
use warnings;
use Cwd qw(abs_path);
use File::Basename qw(basename dirname);
use File::Temp;

my $top = abs_path(dirname(abs_path($0)) . '/../..');
my @pages = @ARGV;
if (!@pages)
{
	# worker.md is about a server that preloads cdp, and about files and databases of the reader's
	@pages = grep { -e && !m{/worker\.md$} && statements($_) } ("$top/README.md", sort glob "$top/docs/*.md");
}

# One zone and one width for all, as the pages were written.
$ENV{PGTZ} = 'UTC';
$ENV{PGCLIENTENCODING} = 'UTF8';
$ENV{PAGER} = 'cat';
delete @ENV{qw(PGDATABASE PGOPTIONS PGSERVICE COLUMNS PSQLRC)};

my $n = 0;
my $bad = 0;

sub ok
{
	my ($is_ok, $name, @why) = @_;
	$n++;
	$bad++ if !$is_ok;
	print $is_ok ? 'ok' : 'not ok', " $n - $name\n";
	print "#   $_\n" for $is_ok ? () : @why;
	return $is_ok;
}

sub slurp
{
	my $file = shift;
	open my $in, '<', $file or die "cannot read $file: $!\n";
	local $/;
	return scalar <$in>;
}

# The fenced blocks of a page: where, of what kind, and their lines.
sub blocks
{
	my $page = shift;
	my ($line, @blocks, $open) = (0);
	for my $text (split /\n/, slurp($page))
	{
		$line++;
		if ($open && $text eq '```') { push @blocks, $open; undef $open }
		elsif ($open) { push @{ $open->{lines} }, $text }
		elsif ($text =~ /^```(.*)$/) { $open = { line => $line, kind => $1, lines => [] } }
		elsif ($text =~ /\S/ && @blocks) { $blocks[-1]{has_text_behind} = 1 }
	}
	die "$page:$open->{line}: the block is not closed\n" if $open;
	return @blocks;
}

# Runnable blocks, each with the result that the page shows, if it shows one.
sub statements
{
	my @blocks = blocks(shift);
	my @found;
	for my $i (0 .. $#blocks)
	{
		my $b = $blocks[$i];
		next if $b->{kind} !~ /^sql( error)?$/;
		my $next = $b->{has_text_behind} || $i == $#blocks ? undef : $blocks[ $i + 1 ];
		$b->{expected} = $next && $next->{kind} eq 'text' ? $next->{lines} : undef;
		$b->{fails} = $b->{kind} eq 'sql error';
		push @found, $b;
	}
	return @found;
}

# Lines as they are compared: no blanks at the ends of lines, none before the first and after the last.
sub trim
{
	my @lines = map { s/\s+$//r } @_;
	shift @lines while @lines && $lines[0] eq '';
	pop @lines while @lines && $lines[-1] eq '';
	return @lines;
}

sub psql { return ('psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', @_) }

# Run psql on a script; everything it says.
sub run
{
	my ($input, @command) = @_;
	my $file = File::Temp->new;
	print $file $input;
	close $file or die "cannot write a file: $!\n";
	my $pid = open my $from, '-|';
	die "cannot fork: $!\n" if !defined $pid;
	if (!$pid)
	{
		open STDERR, '>&', \*STDOUT or die;
		exec @command, q(-f), "$file" or die "cannot run $command[0]: $!\n";
	}
	my @said = <$from>;
	close $from;
	chomp @said;
	return @said;
}

sub test_page
{
	my $page = shift;
	my $short = $page =~ s{^\Q$top\E/}{}r;
	my $database = 'tutorial_' . lc basename($page, '.md');
	my @statements = statements($page);
	my $script = "\\pset pager off\n";
	$script .= "CREATE EXTENSION cdp;\nSELECT cdp.init();\n" if !grep { /^CREATE EXTENSION/i } map { @{ $_->{lines} } } @statements;
	for my $i (0 .. $#statements)
	{
		my $s = $statements[$i];
		$script .= '\set ON_ERROR_STOP ' . ($s->{fails} ? 'off' : 'on') . "\n";
		$script .= "\\echo \@\@\@ $i\n" . join("\n", @{ $s->{lines} }) . "\n\\echo \@\@\@ end $i\n";
	}
	my @said = run("DROP DATABASE IF EXISTS $database WITH (FORCE);\nCREATE DATABASE $database TEMPLATE template0 ENCODING 'UTF8';\n",
		psql('-d', 'postgres'));
	if (my @errors = grep { /ERROR|FATAL|error:/ } @said)
	{
		ok(0, "$short: a database", @errors);
		return;
	}
	my (%output, %ended, $at);
	for (run($script, psql('-d', $database)))
	{
		if (/^@@@ end (\d+)$/) { $ended{$1} = 1; undef $at }
		elsif (/^@@@ (\d+)$/) { $at = $1 }
		elsif (defined $at) { push @{ $output{$at} }, s/^psql:[^ ]*?:\d+: //r }
	}
	for my $i (0 .. $#statements)
	{
		my $s = $statements[$i];
		my @shown = $s->{expected} ? trim(@{ $s->{expected} }) : ();
		my @got = @{ $output{$i} // [] };
		my $name = "$short:$s->{line}";
		if (!$ended{$i})
		{
			ok(0, "$name runs", @got ? @got : 'not reached');
			last if !defined $output{$i};
			next;
		}
		@got = $s->{fails} ? grep { /^(ERROR|DETAIL|HINT):/ } @got : grep { !/^(NOTICE|HINT|DETAIL|CONTEXT|LOG|WARNING):/ } @got;
		@got = trim(@got);
		if ($s->{fails} && !grep { /^ERROR:/ } @got) { ok(0, "$name fails", 'it does not') }
		elsif (!$s->{expected}) { ok(1, "$name runs") }
		else
		{
			my $same = "@{[map { qq($_\n) } @got]}" eq "@{[map { qq($_\n) } @shown]}";
			ok($same, "$name shows what the page says", 'psql says:', map({ "  $_" } @got), 'the page says:', map({ "  $_" } @shown));
		}
	}
	run("DROP DATABASE IF EXISTS $database WITH (FORCE);\n", psql('-d', 'postgres'));
}

test_page($_) for @pages;
ok(0, 'there are pages to test') if !@pages;
print "1..$n\n";
exit($bad ? 1 : 0);
