"""Whether two runs logged the same numbers: same_logs.py TOLERANCE LOG LOG.

Numbers may differ by TOLERANCE of the larger; those of time and memory count
for nothing. Prints the largest difference.
"""
import json
import sys

OWN = {'steps_per_s', 'wait', 'memory_mb'}


def read(path):
    with open(path, encoding='utf-8') as file:
        return [{k: v for k, v in json.loads(line).items() if k not in OWN}
                for line in file]


def main():
    tolerance, (a, b) = float(sys.argv[1]), map(read, sys.argv[2:])
    if [list(line) for line in a] != [list(line) for line in b]:
        return 'the lines are of other steps or keys: %d and %d' % (len(a), len(b))
    worst = max((abs(p[k] - q[k]) / max(abs(p[k]), abs(q[k]), 1e-9), k, p['step'])
                for p, q in zip(a, b) for k in p)
    print('%d lines differ by at most %.3g (%s, step %d)' % (len(a), *worst))
    return 0 if worst[0] <= tolerance else 'more than %g' % tolerance


sys.exit(main())
