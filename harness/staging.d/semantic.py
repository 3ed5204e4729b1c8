#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What git does not see when it merges: names that both sides touch without
touching the same lines. Between the base and another tree, what the series uses
and the other side removed or changed; between base and series, what the series
removes or changes and code of the other tree uses.

Names are read by universal-ctags from headers and from the files concerned, so
this knows names, parameters and members, but not meaning: a function that does
something else under the same declaration is not found, and a member only where
its structure is named in the same file. A compiled merge is the proof.

usage: semantic.py GIT_DIR COMMITS BASE TIP OTHER    (COMMITS: "COMMIT PATCH" lines)

Prints lines STATUS <TAB> PATCH <TAB> TEXT.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict

WORD = re.compile(r'\b[A-Za-z_]\w*\b')
# Macros that stand in declarations and would be taken for something else.
IGNORE = ('__counted_by+ __counted_by_le+ __printf+ __scanf+ __acquires+ __releases+ '
          '__must_hold+ __cond_acquires+ __alloc_size+ __malloc __must_check __user '
          '__iomem __rcu __percpu __force __bitwise __init __exit __initdata __cold '
          '__always_unused __maybe_unused __packed __aligned+ __read_mostly '
          '__ro_after_init ____cacheline_aligned ____cacheline_aligned_in_smp '
          '____cacheline_internodealigned_in_smp __randomize_layout __no_kcsan '
          '__no_sanitize_address noinline __always_inline __pure __attribute_const__ '
          '__guarded_by+ __pt_guarded_by+ __latent_entropy noinstr __deprecated '
          '__assume_aligned+ __realloc_size+ alloc_hooks_tag+').split()
TYPES = {'int', 'long', 'short', 'char', 'unsigned', 'signed', 'bool', 'void', 'float'}
NOISE = re.compile(r'\b(extern|static|inline|__inline|const|volatile|struct|union|enum|register)\b')


class Git:
    def __init__(self, path):
        self.path = path

    def __call__(self, *args):
        return subprocess.run(['git', '-C', self.path, *args], check=True,
                              capture_output=True).stdout.decode('utf-8', 'replace')

    def blobs(self, commit):
        """path -> object, of all files of a commit."""
        out = {}
        for line in self('ls-tree', '-r', '--full-tree', commit).splitlines():
            what, path = line.split('\t', 1)
            out[path] = what.split()[2]
        return out

    def extract(self, commit, paths, to):
        """Writes these files of a commit below a folder."""
        os.makedirs(to, exist_ok=True)
        for at in range(0, len(paths), 2000):
            archive = subprocess.Popen(['git', '-C', self.path, 'archive', commit, '--']
                                       + paths[at:at + 2000], stdout=subprocess.PIPE)
            subprocess.run(['tar', '-x', '-C', to], stdin=archive.stdout, check=True)
            if archive.wait():
                raise RuntimeError('git archive failed')

    def grep(self, commit, words, paths):
        """Lines (path, word) of a commit, each once."""
        with tempfile.NamedTemporaryFile('w', suffix='.words') as f:
            f.write('\n'.join(sorted(words)) + '\n')
            f.flush()
            run = subprocess.run(['git', '-C', self.path, 'grep', '-o', '-w', '-F', '-f',
                                  f.name, commit, '--'] + paths, capture_output=True)
        out = run.stdout.decode('utf-8', 'replace').splitlines()
        return sorted({tuple(line.split(':', 2)[1:]) for line in out})


def strip_code(text):
    """Without comments and strings, which may name anything."""
    text = re.sub(r'/\*.*?(\*/|$)', ' ', text, flags=re.S)
    text = re.sub(r'//[^\n]*', ' ', text)
    return re.sub(r'"(\\.|[^"\\\n])*"', '""', text)


class Reader:
    """Words and tags of files, as far as they are wanted; each version of a file
    is read once, as most are the same in all trees."""

    def __init__(self, git, wanted):
        self.git, self.wanted = git, wanted
        self.seen = {}      # (path, object) -> (words, lines of ctags)

    def read(self, commit, concerned):
        """(words, lines) of each file of a commit that is concerned."""
        blobs = {p: b for p, b in self.git.blobs(commit).items() if concerned(p)}
        new = sorted(p for p, b in blobs.items() if (p, b) not in self.seen)
        with tempfile.TemporaryDirectory() as root:
            self.git.extract(commit, new, root)
            words = {p: WORD.findall(strip_code(contents(root, p))) for p in new}
            tags = self.tags(root, new)
        for p in new:
            self.seen[p, blobs[p]] = self.wanted.intersection(words[p]), tags[p]
        return [self.seen[item] for item in sorted(blobs.items())]

    def tags(self, root, paths):
        run = subprocess.run(
            ['ctags', '--languages=C', '--langmap=C:.c.h', '--kinds-C=+px-lz',
             '--fields=+SsKtZ', '--extras=+{anonymous}', '-I', ','.join(IGNORE), '-f', '-',
             '-L', '-'], cwd=root, input='\n'.join(paths).encode(), check=True,
            capture_output=True)
        out = defaultdict(list)
        for line in run.stdout.decode('utf-8', 'replace').splitlines():
            name, path = line.split('\t', 2)[:2]
            if name in self.wanted:
                out[path].append(line)
        return out


def contents(root, path):
    try:
        with open(os.path.join(root, path), encoding='utf-8', errors='replace') as f:
            return f.read()
    except FileNotFoundError:       # a link to nowhere
        return ''


class Side:
    """What one tree declares: functions, macros, types, members."""

    def __init__(self, files):
        self.declared = defaultdict(dict)      # name -> {form: file}
        self.members = defaultdict(dict)       # (struct, member) -> {type: file}
        self.structs_of = defaultdict(set)     # member -> {struct}
        self.lines = defaultdict(set)          # name -> {(file, line of it)}
        self.words = set()
        for words, lines in files:
            self.words |= words
            for line in lines:
                self.tag(line)

    def tag(self, line):
        head, _, rest = line.partition(';"\t')
        name, path = head.split('\t')[:2]
        fields = rest.split('\t')
        kind = fields[0]
        more = dict(f.split(':', 1) for f in fields[1:] if ':' in f)
        line = re.sub(r'^/\^|\$?/$', '', head.split('\t', 2)[2]).replace('\\/', '/')
        self.lines[name].add((path, line.strip()))
        typ = more.get('typeref', '').replace('typename:', '')
        if kind == 'member':
            scope = more.get('scope', '')
            struct = re.sub(r'^(struct|union|class):', '', scope).split('::')[0]
            if struct and not struct.startswith('__anon'):
                self.members[struct, name].setdefault(plain(typ, True), path)
                self.structs_of[name].add(struct)
        elif kind in ('function', 'prototype'):
            # Of a macro before the declaration, ctags makes a part of the type.
            form = plain(typ.rsplit(')', 1)[-1]) + '(' + params(more.get('signature', '')) + ')'
            self.declared[name].setdefault(form, path)
        elif kind == 'macro' and 'signature' in more:
            count = more['signature'].count(',') + (more['signature'] != '()')
            form = 'any' if '...' in more['signature'] else '%d' % count
            self.declared[name].setdefault('macro of ' + form, path)
        elif kind in ('struct', 'union', 'enum', 'typedef', 'enumerator', 'macro', 'externvar',
                      'variable'):
            self.declared[name].setdefault(kind, path)


def plain(text, member=False):
    """A type without what does not matter to who uses it."""
    text = re.sub(r'__anon\w+', '', text) if member else text
    text = NOISE.sub(' ', re.sub(r'^(struct|union|enum):', '', text))
    return re.sub(r'\s*([*\[\]])\s*', r'\1', ' '.join(text.split()))


def params(signature):
    """The types of the parameters, without their names."""
    out = []
    for p in signature.strip('()').split(','):
        p = plain(p)
        words = WORD.findall(p)
        if len(words) > 1 and words[-1] not in TYPES and '(' not in p:
            p = re.sub(r'\b%s\b(\[.*\])?$' % re.escape(words[-1]), r'\1', p).strip()
        out.append(p.replace(' *', '*'))
    return ', '.join(out)


def functions(forms):
    return {f for f in forms if '(' in f or f.startswith('macro of')}


def arguments(form):
    """How many arguments it takes, None if any number."""
    if form.startswith('macro of'):
        return None if form.endswith('any') else int(form[9:])
    inside = form[form.index('(') + 1:-1]
    if '...' in inside:
        return None
    return 0 if inside in ('', 'void') else inside.count(',') + 1


def how_different(was, now):
    """FAIL if a call that fits one cannot fit the other, NOTE if it may."""
    if was & now:
        return None
    if any(f.startswith('macro') for f in was | now):
        counts = {arguments(f) for f in was}, {arguments(f) for f in now}
        return None if None in counts[0] | counts[1] or counts[0] & counts[1] else 'FAIL'
    if {f[f.index('('):] for f in was} & {f[f.index('('):] for f in now}:
        void = {f.startswith('void(') for f in was} != {f.startswith('void(') for f in now}
        return 'FAIL' if void else 'NOTE'
    return 'FAIL'


def added_lines(git, commits):
    """(patch, path, text) of each patch and file: what it adds to C code."""
    for commit, patch in commits:
        path, text = None, []
        diff = git('show', '--format=', '-U0', '--no-renames', commit, '--', '*.c', '*.h')
        for line in diff.splitlines() + ['+++ b/']:
            if line.startswith('+++ '):
                if path and text:
                    yield patch, path, '\n'.join(text)
                path, text = line[6:], []
            elif line.startswith('+'):
                text.append(line[1:])


def visible(where, path):
    """A header outside include/ is for its folder and those near it."""
    return where.startswith(('include/', 'arch/')) or \
        where.split('/')[:2] == path.split('/')[:2]


def in_kernel(path):
    return not path.startswith(('tools/', 'Documentation/', 'samples/'))


def relevant(path, folders, touched):
    """Files whose declarations count: headers, and the sources concerned."""
    if path in touched:
        return path.endswith(('.c', '.h'))
    return path.endswith('.h') and (path.startswith(('include/', 'arch/x86/include/'))
                                    or path.startswith(folders))


class Compare:
    def __init__(self, git, commits, base, tip, other):
        self.git, self.other = git, other
        self.touched = set(git('diff', '--name-only', '--no-renames', base, tip).splitlines())
        self.touched = {f for f in self.touched if in_kernel(f)}
        folders = tuple(sorted({os.path.dirname(f) + '/' for f in self.touched
                                if f.endswith(('.c', '.h')) and f.count('/')}))
        self.texts = self.read_touched(base), self.read_touched(tip)
        wanted = {w for texts in self.texts for t in texts.values() for w in WORD.findall(t)}
        reader = Reader(git, wanted)
        self.side = {name: Side(reader.read(commit, lambda f: relevant(f, folders, self.touched)))
                     for name, commit in (('base', base), ('tip', tip), ('other', other))}
        self.added = [a for a in added_lines(git, commits) if in_kernel(a[1])]
        self.out = []
        self.missing = defaultdict(list)
        new = {(path, line.strip()) for _, path, text in self.added for line in text.splitlines()}
        self.own = {n for n, at in self.side['tip'].lines.items() if at & new}

    def read_touched(self, commit):
        """path -> code of what the series touches, as it is in a commit."""
        there = self.git.blobs(commit)
        paths = [f for f in sorted(self.touched) if f in there and f.endswith(('.c', '.h'))]
        with tempfile.TemporaryDirectory() as root:
            self.git.extract(commit, paths, root)
            return {f: strip_code(contents(root, f)) for f in paths}

    def say(self, status, patch, text):
        self.out.append((status, patch, text))

    def uses(self):
        """name -> the first (patch, path) that adds it; members separately."""
        names, members = {}, {}
        for patch, path, text in self.added:
            code = strip_code(text)
            for m in re.finditer(r'(->|\.)\s*([A-Za-z_]\w*)', code):
                members.setdefault((m.group(2), path), patch)
            for name in set(WORD.findall(code)):
                names.setdefault(name, (patch, path))
        return names, members

    def gone_or_changed(self):
        """What the other side did to what the series uses."""
        base, tip, other = (self.side[s] for s in ('base', 'tip', 'other'))
        names, members = self.uses()
        missing = set()
        for name, (patch, path) in sorted(names.items(), key=lambda i: (i[1], i[0])):
            if name not in base.declared or name not in tip.words or name in self.own:
                continue
            if not any(visible(where, path) for where in base.declared[name].values()):
                continue
            if name not in other.words:
                missing.add(name)
            elif functions(base.declared[name]) and functions(other.declared.get(name, {})):
                self.changed(name, patch, path)
        still = {w for _, w in self.git.grep(self.other, missing, ['*.h', '*.c'])} if missing else set()
        for name in sorted(missing, key=lambda n: (names[n], n)):
            patch, path = names[name]
            kind, where = next(iter(base.declared[name].items()))
            kind = 'function' if '(' in kind else kind.split(' of ')[0]
            if kind == 'macro' and where.endswith('.c'):
                continue
            if name in still:
                self.say('NOTE', patch, '%s %s (%s) is used in %s: named there, but not declared '
                         'where this comparison looks' % (kind, name, where, path))
            else:
                self.missing[patch, path, where].append('%s %s' % (kind, name))
        for (patch, path, where), gone in self.missing.items():
            self.say('FAIL', patch, '%s uses what is not there: %s (%s)' % (
                path, ', '.join(gone), where))
        self.members(members)

    def changed(self, name, patch, path):
        base, tip, other = (self.side[s].declared.get(name, {}) for s in ('base', 'tip', 'other'))
        was, now = functions(base), functions(other)
        how = how_different(was, now)
        if not how or functions(tip) & now:
            return
        # Of a static function in a file that the series replaces, nothing follows.
        where = base[sorted(was)[0]]
        if where.endswith('.c') and where in self.touched and where != path:
            return
        self.say(how, patch, '%s, used in %s, is declared otherwise there: %s here, %s in %s' % (
            name, path, sorted(was)[0], sorted(now)[0], other[sorted(now)[0]]))

    def structs_in(self, path):
        """Structures that a file of the series names."""
        return set(re.findall(r'\b(?:struct|union)\s+(\w+)', self.texts[1].get(path, '')))

    def members(self, members):
        base, tip, other = (self.side[s] for s in ('base', 'tip', 'other'))
        named = {}
        for (name, path), patch in sorted(members.items(), key=lambda i: (i[1], i[0])):
            if path not in named:
                named[path] = self.structs_in(path)
            structs = {s for s in base.structs_of[name] & named[path]
                       if (s, name) in tip.members and s not in self.own}
            lost = {s for s in structs if (s, name) not in other.members and s in other.declared}
            for s in sorted(lost):
                where = next(iter(base.members[s, name].values()))
                may = '' if lost == structs else ' (if that is the one meant: %s still has it)' % (
                    ', '.join(sorted(structs - lost)))
                self.say('NOTE' if may else 'FAIL', patch, '%s uses the member %s of struct %s (%s), '
                         'which is not there%s' % (path, name, s, where, may))
            if len(structs) == 1 and not lost:
                self.other_type(patch, path, structs.pop(), name)

    def other_type(self, patch, path, struct, name):
        was, tip, now = (self.side[s].members.get((struct, name), {})
                         for s in ('base', 'tip', 'other'))
        if now and not set(was) & set(now) and not set(tip) & set(now) and \
                not any('(' in t for t in list(was) + list(now)):
            self.say('NOTE', patch, '%s uses the member %s of struct %s, which is of another type '
                     'there: %s here, %s' % (path, name, struct, next(iter(was)), next(iter(now))))

    def taken_away(self):
        """What the series removes or changes, and code of the other side uses
        that is not code which the series changes too."""
        base, tip = self.side['base'], self.side['tip']
        gone, changed = {}, {}
        for name, forms in base.declared.items():
            where = next(iter(forms.values()))
            if where not in self.touched or where.endswith('.c'):
                continue
            if name not in tip.declared and name not in tip.words:
                gone[name] = where
            elif functions(forms) and functions(tip.declared.get(name, {})) and how_different(
                    functions(forms), functions(tip.declared[name])) == 'FAIL':
                changed[name] = where
        words = set(gone) | set(changed)
        if not words:
            return
        for path, name in self.git.grep(self.other, words, ['*.c', '*.h']):
            where = gone.get(name) or changed[name]
            if path in self.touched or not in_kernel(path) or not visible(where, path):
                continue
            what = 'removes' if name in gone else 'declares otherwise'
            self.say('FAIL', self.remover(name), 'the series %s %s (%s), but %s uses it there' % (
                what, name, where, path))

    def remover(self, name):
        """The last patch that takes a line away which has this name."""
        return self.removers.get(name, 'series')

    def find_removers(self, commits):
        self.removers = {}
        for commit, patch in commits:
            diff = self.git('show', '--format=', '-U0', '--no-renames', commit, '--', '*.h')
            for line in diff.splitlines():
                if line.startswith('-') and not line.startswith('---'):
                    for name in WORD.findall(line):
                        self.removers[name] = patch


def main():
    if len(sys.argv) != 6:
        print(__doc__[__doc__.index('usage:'):].split('\n', 1)[0], file=sys.stderr)
        return 2
    git = Git(sys.argv[1])
    with open(sys.argv[2], encoding='utf-8') as f:
        commits = [tuple(line.split()) for line in f]
    compare = Compare(git, commits, *sys.argv[3:])
    compare.find_removers(commits)
    compare.gone_or_changed()
    compare.taken_away()
    for line in dict.fromkeys(compare.out):
        print('\t'.join(line))
    return 0


if __name__ == '__main__':
    sys.exit(main())
