#!/usr/bin/env python3
"""Of `meson introspect --tests` on stdin: the tests of a GPU against the CPU.

Prints a line each: the program's file name, the test's name."""
import json
import os
import sys

for test in json.load(sys.stdin):
    if any(s.endswith('parity') for s in test['suite']) and test['env'].get('LD_TEST_DEVICE') == 'cuda':
        print(os.path.basename(test['cmd'][0]), test['name'])
