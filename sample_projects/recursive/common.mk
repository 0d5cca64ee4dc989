# Shared by every directory.
CC       = gcc
CFLAGS   = -O2 -Wall -Wextra
CPPFLAGS = -I..
AR       = ar
