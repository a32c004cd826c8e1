#!/usr/bin/env python3
"""Runs a program under a filter of system calls: under_filter.py FILE PROGRAM [ARGUMENTS]

FILE has the names of the calls that are allowed, one a line. Any other ends the process with SIGSYS,
as systemd does it for SystemCallFilter= without SystemCallErrorNumber=.
"""

import os
import sys

import seccomp

names, program = sys.argv[1], sys.argv[2:]
allowed = seccomp.SyscallFilter(defaction=seccomp.KILL_PROCESS)
with open(names) as lines:
    for name in lines.read().split():
        try:
            allowed.add_rule(seccomp.ALLOW, name)
        except (OSError, RuntimeError, ValueError):
            pass  # not of this architecture, or newer than the library: so it stays forbidden
allowed.load()
os.execvp(program[0], program)
