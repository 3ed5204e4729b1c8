#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Which later patches stand on which earlier one: they use what it defines, edit
or name a file that it creates, or remove what it would bring back when it is
reverted. To revert a patch, these have to go first.

Names are read by universal-ctags; those of a C file count in that file only.

usage: dependents.py GIT_DIR COMMITS     (COMMITS: "COMMIT PATCH" lines)

Prints a line for each patch: PATCH <TAB> LATER PATCH... <TAB> REASON; REASON...
The list is complete: it has what the later ones need, too, in series order.
"""

import functools
import re
import subprocess
import sys
import tempfile

WORD = re.compile(r'\b[A-Za-z_]\w*\b')
REPO = ''


def git(*args):
    run = subprocess.run(['git', '-C', REPO, *args], capture_output=True, check=False)
    return run.stdout.decode('utf-8', 'replace')


def strip_code(text):
    text = re.sub(r'/\*.*?\*/', ' ', text, flags=re.S)
    return re.sub(r'//[^\n]*|^\s*/?\*\s.*$', ' ', text, flags=re.M)


def definitions(commit, path):
    """{(kind, name, scope)} of one file of a commit."""
    text = git('show', '%s:%s' % (commit, path))
    if path.rsplit('/', 1)[-1].startswith('Kconfig'):
        return {('config', n, '') for n in re.findall(r'^(?:menu)?config (\w+)$', text, re.M)}
    if not path.endswith(('.c', '.h')):
        return set()
    return tags(text, path)


def tags(text, path):
    out = set()
    with tempfile.NamedTemporaryFile('w', suffix=path[-2:]) as f:
        f.write(text)
        f.flush()
        run = subprocess.run(['ctags', '--languages=C', '--langmap=C:.c.h',
                              '--kinds-C=+px-lz', '--fields=+sK', '-f', '-', f.name],
                             capture_output=True, check=True)
    for line in run.stdout.decode('utf-8', 'replace').splitlines():
        head, _, rest = line.partition(';"\t')
        fields = rest.split('\t')
        scope = ''.join(x for x in fields[1:] if x.startswith(('struct:', 'union:')))
        kind = fields[0]
        out.add(('member' if kind == 'member' else 'name', head.split('\t')[0],
                 scope.split(':', 1)[-1].split('::')[0]))
    return out


class Patch:
    """What one patch defines, removes, adds and takes away."""

    def __init__(self, number, commit, name):
        self.number, self.commit, self.name = number, commit, name
        self.defines, self.removes = [], []      # (path, name, kind, structure)
        self.creates, self.modifies = set(), set()
        self.added, self.taken = {}, {}
        for line in git('diff-tree', '-r', '--no-commit-id', '--no-renames',
                        '--name-status', commit).splitlines():
            status, path = line.split('\t')
            (self.creates if status == 'A' else self.modifies).add(path)
            before, after = definitions(commit + '^', path), definitions(commit, path)
            self.defines += self.news(path, before, after)
            self.removes += self.news(path, after, before)
        self.read_lines(git('show', '--format=', '-U0', '--no-renames', commit))

    @staticmethod
    def news(path, before, after):
        """Members count if their structure was there: else it says enough."""
        known = {n for _, n, _ in before}
        for kind, name, scope in after - before:
            if kind == 'member' and (scope not in known or scope.startswith('__anon')):
                continue
            if name not in known or kind == 'member':
                yield path, name, kind, scope

    def read_lines(self, diff):
        path = old = ''
        for line in diff.splitlines():
            if line.startswith('--- '):
                old = line[6:]
            elif line.startswith('+++ '):
                path = line[6:] if line[4:] != '/dev/null' else old
            elif line.startswith('+'):
                self.added.setdefault(path, []).append(line[1:])
            elif line.startswith('-'):
                self.taken.setdefault(path, []).append(line[1:])
        for side in (self.added, self.taken):
            for path, text in side.items():
                raw = '\n'.join(text)
                side[path] = (raw, words(path, raw))


def words(path, raw):
    """Words, and those that are used as members, of one side of a diff."""
    code = strip_code(raw) if path.endswith(('.c', '.h')) else raw
    names = set(WORD.findall(code))
    names |= {n[7:] for n in names if n.startswith('CONFIG_')}
    return names, set(re.findall(r'(?:->|\.)(\w+)', code))


def visible(where, path, kind):
    """Can the file use what stands there? A header is for its folder and those
    below, one in an include/ for those beside that."""
    if kind == 'config':
        return not path.endswith('.rst')
    if not path.endswith(('.c', '.h')):
        return False
    if where.endswith('.c'):
        return where == path
    folder = where.rsplit('/', 1)[0]
    return path.startswith(re.sub(r'(^|/)include(/.*)?$', r'\1', folder + '/'))


@functools.lru_cache(maxsize=None)
def file_words(commit, path):
    return frozenset(WORD.findall(git('show', '%s:%s' % (commit, path))))


def knows(commit, path, where, struct):
    """Can a member that the file names be one of this structure? Many have the
    same name: the file has to name the structure or, if not, its header."""
    header = where.rsplit('/', 1)[-1].split('.')[0]
    return not {struct, header}.isdisjoint(file_words(commit, path))


def names_used(commit, definitions_, lines):
    """Of what is defined, the names in these lines of files of a commit."""
    for where, name, kind, struct in definitions_:
        for path, (_, (names, members)) in lines.items():
            if not visible(where, path, kind):
                continue
            if name in names and kind != 'member' or \
                    name in members and kind == 'member' and knows(commit, path, where, struct):
                yield name
                break


def includes(first, later):
    """A file that the first creates and the later one pulls in by its path."""
    for path in first.creates:
        short = re.escape(re.sub(r'^include/(uapi/)?', '', path))
        pulls = re.compile(r'#\s*include\s*[<"](\.\./)*%s[>"]|kernel-doc:: %s$' % (
            short, re.escape(path)), re.M)
        if any(pulls.search(raw) for raw, _ in later.added.values()):
            return path
    return None


def needs(later, first):
    """Why the later patch has to go before the first can, None if it need not."""
    shared = later.modifies & first.creates
    if shared:
        return 'edits %s' % sorted(shared)[0]
    path = includes(first, later)
    if path:
        return 'includes %s' % path
    used = sorted(names_used(later.commit, first.defines, later.added))
    if used:
        return 'uses %s' % ', '.join(used[:3])
    back = sorted(names_used(first.commit + '^', later.removes, first.taken))
    if back:
        return 'removes %s' % ', '.join(back[:3])
    return None


def main():
    global REPO
    if len(sys.argv) != 3:
        print(__doc__[__doc__.index('usage:'):].split('\n', 1)[0], file=sys.stderr)
        return 2
    REPO = sys.argv[1]
    with open(sys.argv[2], encoding='utf-8') as f:
        patches = [Patch(n, *line.split()) for n, line in enumerate(f)]
    why = {(j, i): needs(patches[j], patches[i])
           for i in range(len(patches)) for j in range(i + 1, len(patches))}
    for i, first in enumerate(patches):
        gone, order = {i}, []
        for j in range(i + 1, len(patches)):
            reason = next((why[j, k] for k in sorted(gone) if k < j and why[j, k]), None)
            if reason:
                gone.add(j)
                order.append((patches[j].name, reason))
        print('\t'.join([first.name, ' '.join(n for n, _ in order),
                         '; '.join('%s %s' % (n.split('-')[0], r) for n, r in order)]))
    return 0


if __name__ == '__main__':
    sys.exit(main())
