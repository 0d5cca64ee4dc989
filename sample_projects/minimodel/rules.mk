# What every directory shares.  A directory's Makefile sets LIBRARY, UNITS and NEEDS (archives of the directories
# whose modules it uses: when one of them is new, its users are compiled again), then includes this file.
FC       = gfortran
CC       = gcc
AR       = ar
OPTIMISE = -O3 -funroll-loops -ffp-contract=off
# The loops over layers, bands and grid have lengths that the compiler knows: it may unroll them whole.
UNROLL   = --param=max-completely-peeled-insns=1000 --param=max-completely-peel-times=36
FFLAGS   = $(OPTIMISE) $(UNROLL) -std=f2018 -Wall -Wextra
F77FLAGS = $(OPTIMISE) -std=legacy
CFLAGS   = $(OPTIMISE) -std=c11 -Wall -Wextra
CPPFLAGS = -I../config
MODULES  = ../mod

.SUFFIXES:

$(LIBRARY): $(UNITS)
	rm -f $@
	$(AR) rcs $@ $(UNITS)

$(UNITS): $(NEEDS) | $(MODULES)

$(MODULES):
	mkdir -p $@

%.o: %.c
	$(CC) $(CFLAGS) $(CPPFLAGS) -c $< -o $@

%.o: %.f
	$(FC) $(F77FLAGS) -I../base -c $< -o $@

%.o: %.F
	$(FC) $(F77FLAGS) $(CPPFLAGS) -I../base -c $< -o $@

%.o: %.f90
	$(FC) $(FFLAGS) -I../base -J$(MODULES) -c $< -o $@

%.o: %.F90
	$(FC) $(FFLAGS) $(CPPFLAGS) -I../base -J$(MODULES) -c $< -o $@

clean::
	rm -f *.o $(LIBRARY)

.PHONY: clean
