#!/usr/bin/env python3
"""The house rules that a compiler does not check: lint.py ROOT [ARCHIVE...]

Prints one line a finding, `file:line: what`, and last "1 passed, 0 failed" or
"0 passed, 1 failed". ARCHIVEs are the built static libraries.
"""
import os
import pathlib
import re
import subprocess
import sys

# Who may include whom: a room sees itself, and these rooms and files.
SEES = {
    'kernels/base': [],
    'kernels': ['kernels/base'],
    'kernels/cpu': ['kernels', 'kernels/base'],
    'kernels/cuda': ['kernels', 'kernels/base'],
    'kernels/net': ['kernels', 'kernels/base'],
    'formats': ['kernels/base', 'kernels/tensor.h', 'kernels/box.h',
                'kernels/rules.h', 'kernels/device.h',
                'kernels/canvas.h'],
    'cache': ['formats', 'kernels', 'kernels/net', 'kernels/base'],
    'trainer': ['formats', 'kernels', 'kernels/net', 'kernels/base'],
    'scripts': ['*'],
    'tests': ['*'],
}
# One file more, for what opens the devices.
ALSO_SEES = {('kernels/backend.c', 'kernels/cpu/backend_cpu.h')}

# What stands in for a library's functions has their parameters.
STAND_INS = 'tests/emulate/'

MAX_FILE, MAX_BODY, MAX_PARAMETERS, MAX_NESTING = 500, 60, 8, 4

# Words of code, and where alone they may stand (a regex of the path).
NOWHERE = r'(?!)'
CALL = r'(?<![\w.>])(?:%s)\s*\('
WORDS = [
    (CALL % 'malloc|calloc|realloc|free|strdup|strndup|aligned_alloc|'
            'posix_memalign|reallocarray',
     r'kernels/base/mem\.c|(tests|scripts)/.*',
     'memory comes from kernels/base/mem.h'),
    (CALL % 'printf|vprintf|puts|putchar|perror',
     r'(cache|trainer|tests|scripts)/.*', 'only commands and tests print'),
    (r'\b(?:stdout|stderr)\b',
     r'(cache|trainer|tests|scripts)/.*|kernels/base/progress\.c',
     'only commands, tests and progress.c print'),
    (CALL % 'exit|_exit|abort|quick_exit', r'(.*/)?main\.c|(tests|scripts)/.*',
     'only main ends the program'),
    (CALL % 'sprintf|vsprintf|gets|strtok|rand|srand|random|drand48|alloca',
     NOWHERE, 'not in this project'),
    (CALL % 'strcpy|strcat|atoi|atol|atoll|atof|popen|system',
     r'(tests|scripts)/.*', 'not in what a user runs'),
    (CALL % 'setjmp|longjmp', r'formats/image_png\.c', "libpng's way alone"),
    (r'\btypedef\s+struct\b[^(]*$', r'tests/emulate/.*',
     'a struct has no typedef'),
    (r'^\s*#\s*(?:if|ifdef|ifndef|elif)\b(?!.*__cplusplus)', NOWHERE,
     'a choice of the build is a file in meson.build'),
    (r'\bgoto\s+(?!done\b)', NOWHERE, 'the one label is done'),
    (r'^\s*(?!done:|default:)[a-z_]\w*:$', NOWHERE, 'the one label is done'),
]
# Words of any text, comments too. [x] keeps a pattern from finding itself.
TEXTS = [
    (r'\b(?:TOD[O]|FIXM[E]|XX[X]|HAC[K])\b', 'unfinished'),
    (r'(?<![\w.$}])/(?:hom[e]|roo[t]|User[s])/\w', 'a path of one machine'),
    (r'(?<![\w.$}])/wor[k]/\w', 'a path of one machine'),
    (r'://[^/\s]*(?:pyp[i]|pythonhoste[d]|npmj[s]|artifactor[y]|nexu[s]|'
     r'ghc[r]\.|quay\.i[o]|docker\.i[o])', 'a registry host'),
    (r'-Ofas[t]|-ffast-mat[h]|fast-mat[h]=', 'no fast-math: NaN must be seen'),
]
# (file, word): why it may.
EXCEPTIONS = {
    ('formats/shard_cache.c', 'free('): 'what scandir allocates',
    ('kernels/cuda/kernel_name.cu', 'free('): 'what __cxa_demangle allocates',
}
# Storage that outlives a call and changes: (object file's stem, name).
MUTABLE = {('mem', 'allocations_left')}


class Finds:
    """What was found, as lines."""

    def __init__(self):
        self.lines = []

    def add(self, path, line, what):
        self.lines.append('%s:%d: %s' % (path, line, what))


def room_of(path):
    folder = str(pathlib.PurePosixPath(path).parent)
    return folder if folder in SEES else folder.split('/')[0]


def code_only(text):
    """The text with comments and the insides of strings blanked out."""
    def blank(match):
        found = match[0]
        if found[0] in '"\'':
            return found[0] + ' ' * (len(found) - 2) + found[0]
        return re.sub(r'[^\n]', ' ', found)
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'',
                  blank, text, flags=re.S)


def includes(text):
    """(line, "path") of every include of ours."""
    for number, line in enumerate(text.split('\n'), 1):
        found = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if found:
            yield number, found[1]


def check_includes(path, text, finds):
    here = room_of(path)
    for number, target in includes(text):
        there = room_of(target)
        seen = SEES.get(here, [])
        if not (there == here or '*' in seen or there in seen or
                target in seen or (path, target) in ALSO_SEES):
            finds.add(path, number, '%s may not include %s' % (here, target))


def check_words(path, code, finds):
    for number, line in enumerate(code.split('\n'), 1):
        for pattern, where, why in WORDS:
            found = re.search(pattern, line)
            if found and not re.fullmatch(where, path) and \
                    (path, found[0]) not in EXCEPTIONS:
                finds.add(path, number, '%s: %s' % (found[0].strip(), why))


def check_texts(path, text, finds):
    for number, line in enumerate(text.split('\n'), 1):
        for pattern, why in TEXTS:
            found = re.search(pattern, line)
            if found:
                finds.add(path, number, '%s: %s' % (found[0], why))


def count_parameters(head):
    """Commas outside inner parentheses of the last (...) of a function's head."""
    depth, commas, last = 0, 0, 0
    for character in head:
        if character == '(':
            depth += 1
            if depth == 1:
                commas = 0
        elif character == ')':
            depth -= 1
            if depth == 0:
                last = commas + 1
        elif character == ',' and depth == 1:
            commas += 1
    return last


def head_above(lines, brace):
    """The lines of a function's head, above its opening brace."""
    top = brace
    while top > 0 and not re.search(r'[;}/]\s*$|^\s*$|^#', lines[top - 1]):
        top -= 1
    return ' '.join(lines[top:brace])


def check_functions(path, code, finds):
    lines = code.split('\n')
    start = None
    for i, line in enumerate(lines):
        if line == '{':
            start = i
            count = count_parameters(head_above(lines, i))
            if count > MAX_PARAMETERS and not path.startswith(STAND_INS):
                finds.add(path, i, '%d parameters, %d at most' %
                          (count, MAX_PARAMETERS))
        elif line == '}' and start is not None:
            if i - start - 1 > MAX_BODY:
                finds.add(path, start, 'a body of %d lines, %d at most' %
                          (i - start - 1, MAX_BODY))
            start = None
        elif start is not None:
            deep = re.match(r'( *)(?:\} else )?(?:if|for|while|switch|do)\b',
                            line)
            if deep and len(deep[1]) > 4 * MAX_NESTING:
                finds.add(path, i + 1, 'nested deeper than %d' % MAX_NESTING)


def check_header(path, text, finds):
    name = path.rsplit('/', 1)[-1]
    if not text.startswith('/* %s - ' % name):
        finds.add(path, 1, 'line 1 says what it is: "/* %s - ..."' % name)
    if '\n#pragma once\n' not in text:
        finds.add(path, 1, 'has no #pragma once')


def check_source(path, text, finds):
    code = code_only(text)
    check_includes(path, text, finds)
    check_words(path, code, finds)
    check_functions(path, code, finds)
    if path.endswith('.h'):
        check_header(path, text, finds)
    if text.count('\n') > MAX_FILE:
        finds.add(path, MAX_FILE, '%d lines, %d at most' %
                  (text.count('\n'), MAX_FILE))


def check_circles(sources, finds):
    """No file includes itself through others."""
    sees = {path: {target for _, target in includes(text)}
            for path, text in sources.items()}
    for path in sorted(sees):
        reached, ahead = set(), set(sees[path])
        while ahead:
            reached |= ahead
            ahead = {t for r in ahead for t in sees.get(r, ())} - reached
        if path in reached:
            finds.add(path, 1, 'includes itself through others')


def check_names(sources, finds):
    """A file's name is unique in the tree, so that a name is enough to say."""
    seen = {}
    for path in sorted(sources):
        name = path.rsplit('/', 1)[-1]
        if name != 'main.c' and seen.setdefault(name, path) != path:
            finds.add(path, 1, '%s has that name already' % seen[name])


def symbols(archive):
    """(stem of the object, scope, section, name) of an archive's symbols."""
    table = subprocess.run(['objdump', '-t', archive], text=True, check=True,
                           capture_output=True).stdout
    stem = ''
    for line in table.split('\n'):
        member = re.match(r'(\S+):\s+file format', line)
        if member:
            stem = re.split(r'[_/]', member[1].rsplit('.c.', 1)[0])[-1]
        row = re.match(r'[0-9a-f]{16} (.)(.{6}) (\S+)\s+[0-9a-f]{16}\s+'
                       r'(?:\.hidden )?([A-Za-z]\w*)(?:\.\d+)?$', line)
        if row and 'd' not in row[2]:
            yield stem, row[1], row[3], row[4]


def check_archive(archive, finds):
    name_of = os.path.basename(archive)
    for stem, scope, section, name in symbols(archive):
        if scope in 'gu!' and section != '*UND*' and not name.startswith('ld_'):
            finds.add(name_of, 1, 'exports %s, which does not begin with ld_' %
                      name)
        if re.match(r'\.(data|bss|tbss|tdata)(?!\.rel\.ro)|\*COM\*', section) \
                and (stem, name) not in MUTABLE:
            finds.add(name_of, 1, '%s: %s outlives a call and can change' %
                      (stem, name))


def list_files(root):
    """Paths of the tree: those git knows or would, else all but builds."""
    try:
        found = subprocess.run(
            ['git', '-C', root, 'ls-files', '-z', '--cached', '--others',
             '--exclude-standard'], capture_output=True, text=True, check=True)
        return [p for p in found.stdout.split('\0') if p]
    except (OSError, subprocess.CalledProcessError):
        paths = (p.relative_to(root).as_posix()
                 for p in pathlib.Path(root).rglob('*') if p.is_file())
        return [p for p in paths if not re.match(r'(\.git|build[^/]*|demo-out)/',
                                                 p)]


def read_texts(root):
    texts = {}
    for path in sorted(list_files(root)):
        try:
            texts[path] = (pathlib.Path(root) / path).read_text('utf-8')
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            pass  # pictures and arrays; a file deleted but not yet committed
    return texts


def main():
    root, finds = sys.argv[1], Finds()
    texts = read_texts(root)
    sources = {p: t for p, t in texts.items()
               if re.search(r'\.(c|h|cu|cpp)$', p)}
    for path, text in texts.items():
        check_texts(path, text, finds)
    for path, text in sources.items():
        check_source(path, text, finds)
    check_names(sources, finds)
    check_circles(sources, finds)
    for archive in sys.argv[2:]:
        check_archive(archive, finds)
    for line in finds.lines:
        print(line)
    print('0 passed, 1 failed' if finds.lines else '1 passed, 0 failed')
    return bool(finds.lines)


sys.exit(main())
