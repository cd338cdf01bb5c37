#!/usr/bin/env python3
"""Adds up what the test executables counted: add_up.py BUILD/meson-logs/testlog.json

Names every skipped test with its reason, and every executable that crashed,
ran out of time or counted nothing: each of those is one failure. Ends with
"N passed, N failed, N skipped"; exit status 1 if anything failed.
"""
import json
import re
import sys

COUNTS = re.compile(r'^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$', re.M)


def counts_of(test):
    """(passed, failed, skipped) of one executable, and what to say of it."""
    found = COUNTS.findall(test.get('stdout') or '')
    say = ['skipped in %s: %s' % (test['name'], why) for why in
           re.findall(r'^SKIP: (.*)$', test.get('stdout') or '', re.M)]
    if not found:
        return (0, 1, 0), say + ['failed: %s: %s, and no count of its tests' %
                                 (test['name'], test['result'])]
    passed, failed, skipped = (int(n or 0) for n in found[-1])
    as_said = 'SKIP' if skipped and not passed else 'OK'
    if failed == 0 and test['result'] != as_said:
        say.append('failed: %s: %s, after all its tests passed' %
                   (test['name'], test['result']))
        failed = 1
    elif failed:
        say.append('failed: %s: %d' % (test['name'], failed))
    return (passed, failed, skipped), say


def main():
    totals = [0, 0, 0]
    with open(sys.argv[1], encoding='utf-8') as log:
        for line in log:
            counts, say = counts_of(json.loads(line))
            totals = [a + b for a, b in zip(totals, counts)]
            for text in say:
                print(text)
    if sum(totals) == 0:
        print('failed: no test ran')
        totals[1] = 1
    print('%d passed, %d failed, %d skipped' % tuple(totals))
    return totals[1] != 0


sys.exit(main())
