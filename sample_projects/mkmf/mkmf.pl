#!/usr/bin/perl
# In the manner of mkmf and genmake: reads which modules each source defines and uses, and writes a Makefile whose
# objects wait for the objects that define their modules; all are compiled in one build directory.
use strict;
use warnings;

my (%defines, %uses);
my @sources = sort glob("src/*.F90 src/*.f90");
for my $source (@sources) {
    open(my $in, "<", $source) or die "$source: $!";
    while (<$in>) {
        $defines{lc $1} = $source if /^\s*module\s+(\w+)\s*$/i;
        push @{ $uses{$source} }, lc $1 if /^\s*use\s+(\w+)/i;
    }
}
sub object { my ($source) = @_; return $source =~ s/^.*\/(.*)\.[fF]90$/$1.o/r; }

mkdir "build";
open(my $out, ">", "build/Makefile") or die "build/Makefile: $!";
print $out "FC = gfortran\nFFLAGS = -O1\nCPPDEFS = -DNLAT=18\n.DEFAULT:\n\t-echo \$\@ does not exist.\n";
print $out "all: ocean.exe\n";
for my $source (@sources) {
    my @modules = map { object($defines{$_}) } grep { $defines{$_} } @{ $uses{$source} // [] };
    my $cpp = $source =~ /\.F90$/ ? '$(CPPDEFS) ' : '';
    print $out object($source), ": ../$source @modules\n\t\$(FC) $cpp\$(FFLAGS) -c -I. ../$source\n";
}
my @objects = map { object($_) } @sources;
print $out "OBJ = @objects\nocean.exe: \$(OBJ)\n\t\$(FC) -o ocean.exe \$(OBJ)\n";
print $out "clean:\n\trm -f \$(OBJ) ocean.exe *.mod\n";
