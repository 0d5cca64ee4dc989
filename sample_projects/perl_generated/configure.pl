#!/usr/bin/perl
# Writes a Makefile with one explicit rule for every source, absolute paths and dependencies found by reading #include.
use strict;
use warnings;
use Cwd;

my $here = getcwd();
my @sources = sort glob("src/*.c");
open(my $out, ">", "Makefile") or die "Makefile: $!";
print $out "CC=cc\nCFLAGS=-O1 -Wall\nOBJS=", join(" ", map { s/^src\/(.*)\.c$/obj\/$1.o/r } @sources), "\n\n";
print $out "river: \$(OBJS)\n\t\$(CC) -o \$\@ \$(OBJS)\n\n";
for my $source (@sources) {
    (my $object = $source) =~ s/^src\/(.*)\.c$/obj\/$1.o/;
    open(my $in, "<", $source) or die "$source: $!";
    my @headers = map { /^\s*#\s*include\s*"([^"]+)"/ ? "$here/src/$1" : () } <$in>;
    print $out "$object: $here/$source @headers\n";
    print $out "\t\@test -d obj || mkdir -p obj\n\t\$(CC) \$(CFLAGS) -I$here/src -c $here/$source -o \$\@\n\n";
}
print $out "clean:\n\trm -rf obj river\n";
close($out) or die "Makefile: $!";
