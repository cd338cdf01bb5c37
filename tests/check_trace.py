"""Whether a trace is whole and the table beside it tells what is in it:
check_trace.py TRACE TOLD STEPS host|device. TOLD is what ld-distill train
printed. Prints what was held against what."""
import json
import re
import sys

HOST, DEVICE = 1, 2
SHORT = 20000  # ns
SLACK = 60000  # ns that the meeting of two clocks may be off


def read_trace(path):
    """Names of threads by (process, thread), and their spans, in nanoseconds."""
    with open(path, encoding='utf-8') as file:
        events = json.load(file)['traceEvents']
    names = {(e['pid'], e['tid']): e['args']['name'] for e in events
             if e['ph'] == 'M' and e['name'] == 'thread_name'}
    spans = {}
    for e in events:
        if e['ph'] == 'X':
            began = round(1000 * e['ts'])
            spans.setdefault((e['pid'], e['tid']), []).append(
                (began, began + round(1000 * e['dur']), e['name']))
    for some in spans.values():
        some.sort(key=lambda s: (s[0], -s[1]))
    return names, spans


def check_nesting(spans):
    for key, some in spans.items():
        open_ends = []
        for began, ended, name in some:
            while open_ends and open_ends[-1] <= began:
                open_ends.pop()
            assert not open_ends or ended <= open_ends[-1], \
                '%s of %s sticks out of what it began in' % (name, key)
            open_ends.append(ended)


def own_times(spans, end):
    """Each name's time within [0, end) without that of the spans in it."""
    times, stack = {}, []

    def close(until):
        while stack and stack[-1][1] <= until:
            began, ended, name, inner = stack.pop()
            took = max(0, min(ended, end) - max(began, 0))
            times[name] = times.get(name, 0) + took - inner
            if stack:
                stack[-1][3] += took
    for began, ended, name in spans:
        close(began)
        stack.append([began, ended, name, 0])
    close(float('inf'))
    return times


def gaps_of(spans, end):
    reached = 0
    for began, ended, _ in sorted(s for s in spans if s[1] > s[0]):
        if min(began, end) > reached:
            yield min(began, end) - reached
        reached = max(reached, ended)
    if end > reached:
        yield end - reached


def read_table(path):
    """{head: {row: (ms a step, share)}}"""
    table, head = {}, ''
    with open(path, encoding='utf-8') as file:
        for line in file:
            found = re.match(r'(.*?)  +(?:[\d.]+ +)?([\d.]+) +([\d.]+) %', line)
            if line.rstrip().endswith('share'):
                head = line.split('  ')[0]
                table[head] = {}
            elif found and head:
                table[head][found[1].strip()] = (float(found[2]), float(found[3]))
    return table


def near(what, ms, ns, n_steps):
    assert abs(ms - ns / 1e6 / n_steps) < 0.00051, \
        '%s: %g ms a step in the table, %g in the trace' % (what, ms, ns / 1e6 / n_steps)


def check_main(rows, spans, end, n_steps):
    times = own_times([s for s in spans if not s[2].startswith('step ')], end)
    for name, ns in times.items():
        if ns > 0:
            near(name, rows[name][0], ns, n_steps)
    none = rows.get('(in none of these)', (0, 0))[1]
    assert none < 5, '%g %% of the steps is in no span' % none
    parts = [row for name, row in rows.items() if name != 'all']
    assert abs(sum(p[0] for p in parts) - rows['all'][0]) < 0.001 * len(parts)
    assert abs(sum(p[1] for p in parts) - 100) < 0.1 * len(parts)
    near('all', rows['all'][0], end, n_steps)
    return 100 - none


def check_layers(table):
    """Where layers are seen, their times are those of the passes."""
    for way in ('forward', 'backward'):
        layers = sum(ms for name, (ms, _) in table['layers'].items() if name.startswith(way))
        whole = table['main thread'][way][0]
        assert 0.7 * whole < layers < whole + 0.01, \
            '%g of %g ms of the %s pass is in layers' % (layers, whole, way)


def check_device(table, host, device, end, n_steps):
    gaps = list(gaps_of(device, end))
    shorter = sum(g for g in gaps if g < SHORT)
    longer = sum(g for g in gaps if g >= SHORT)
    rows = table['device']
    near('busy', rows['busy'][0], end - shorter - longer, n_steps)
    near('shorter gaps', rows['idle, gaps below 20 us'][0], shorter, n_steps)
    near('longer gaps', rows['idle, longer gaps'][0], longer, n_steps)
    meanwhile = [r[0] for name, r in rows.items() if name.startswith('main thread')]
    assert abs(sum(meanwhile) - rows['idle, longer gaps'][0]) < 0.001 * (1 + len(meanwhile))
    # What is emulated is done when the host's call returns: in the host's span.
    doing = [s for s in host if s[2] in ('upload', 'forward', 'loss', 'backward', 'update',
                                         'wait for device', 'save')]
    at = 0
    for began, ended, name in device:
        while doing[at][1] + SLACK < ended:
            at += 1
        assert doing[at][0] - SLACK <= began, \
            '%s at %d ns is in no work of the host: clocks differ' % (name, began)
    by_name = {}
    for began, ended, name in device:
        by_name[name] = by_name.get(name, 0) + min(ended, end) - max(began, 0)
    for name, ns in by_name.items():
        near(name, table['kernel'][name][0], ns, n_steps)


def main():
    trace, told, n_steps, what = sys.argv[1:]
    names, spans = read_trace(trace)
    n_steps, main_spans = int(n_steps), spans[HOST, 0]
    steps = [s for s in main_spans if re.fullmatch(r'step \d+', s[2])]
    table = read_table(told)
    check_nesting(spans)
    assert len(steps) == n_steps, '%d steps' % len(steps)
    assert all(a[1] == b[0] for a, b in zip(steps, steps[1:]))
    assert names[HOST, 0] == 'main' and 'loader 1' in names.values(), names
    explained = check_main(table['main thread'], main_spans, steps[-1][1], n_steps)
    device = [s for key, some in spans.items() if key[0] == DEVICE for s in some]
    assert bool(device) == (what == 'device') == ('device' in table)
    if 'layers' in table:
        check_layers(table)
    if device:
        check_device(table, main_spans, sorted(device), steps[-1][1], n_steps)
    print('%d steps, %.1f %% explained, %d activities' % (n_steps, explained, len(device)))


main()
