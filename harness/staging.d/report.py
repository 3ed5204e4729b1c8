#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Makes the report of harness/staging from its results: report.txt, and
report.html with the same content, which needs nothing but itself.

usage: report.py STAGE     (the folder with about, commits, selected, results)

Prints the verdict. Exit status: 0 green, 1 red, 2 usage.
"""

import html
import os
import sys
import textwrap
from collections import OrderedDict, namedtuple

Result = namedtuple('Result', 'status patch check text')

STATES = ('FAIL', 'OPEN', 'SKIP', 'PASS', 'NOTE')
MEANS = {
    'FAIL': 'a maintainer would send it back',
    'OPEN': 'somebody has to say yes',
    'SKIP': 'not checked in this run',
    'PASS': 'checked, nothing was found',
    'NOTE': 'worth knowing',
}
# One column for a group of checks in the table of patches.
SIGN = {'FAIL': 'X', 'OPEN': '?', 'SKIP': '-', 'PASS': '.', 'NOTE': '.'}


def lines(path):
    with open(path, encoding='utf-8', errors='replace') as f:
        return [line.rstrip('\n') for line in f]


def read_results(path):
    """The lines of all parts; one that is no result counts as a failure."""
    results = []
    for line in lines(path):
        fields = line.split('\t')
        if len(fields) == 4 and fields[0] in STATES:
            results.append(Result(*fields))
        elif line:
            results.append(Result('FAIL', 'series', 'staging', 'not a result: ' + line))
    return results


def worst(results):
    """The status that says most, None if there is no result."""
    return min((r.status for r in results), key=STATES.index, default=None)


class Report:
    """Everything that both forms say, in the order in which they say it."""

    def __init__(self, stage):
        self.about = [line.split('\t', 1) for line in lines(os.path.join(stage, 'about'))]
        self.patches = [line.split(' ', 1)[1] for line in lines(os.path.join(stage, 'selected'))]
        self.results = read_results(os.path.join(stage, 'results'))
        self.checks = list(OrderedDict.fromkeys(r.check for r in self.results))
        self.count = {s: sum(r.status == s for r in self.results) for s in STATES}

    @property
    def green(self):
        return not self.count['FAIL'] and self.count['PASS'] > 0

    def verdict(self):
        if self.green:
            text = 'GREEN: nothing was found'
        elif self.count['FAIL']:
            text = 'RED: %d found' % self.count['FAIL']
        else:
            text = 'RED: nothing was checked'
        if self.count['OPEN']:
            text += ', %d words of maintainers are missing' % self.count['OPEN']
        return text + ', %d checks not run' % self.count['SKIP'] * bool(self.count['SKIP'])

    def of(self, check, *states):
        return [r for r in self.results
                if r.check == check and (not states or r.status in states)]

    def table_checks(self):
        """Checks that speak about single patches."""
        return [c for c in self.checks
                if any(r.patch in self.patches for r in self.of(c))]

    def cell(self, patch, check):
        state = worst([r for r in self.of(check) if r.patch == patch])
        return SIGN[state] if state else ''


def as_text(report):
    """The report for a terminal and for a mail, not wider than 100 columns."""
    out = [report.verdict(), '']
    out += ['%-9s%s' % (k, v) for k, v in report.about]
    out += ['', 'Each result is one of: '
            + ', '.join('%s (%s)' % (s, MEANS[s]) for s in STATES), '']
    out[-2:-1] = textwrap.wrap(out[-2], 100)

    def section(title):
        out.extend(['', title, '=' * len(title)])

    def item(result, with_check):
        head = '%s %s' % (result.status, result.patch)
        head += ' %s: ' % result.check if with_check else ': '
        out.extend(textwrap.wrap(head + result.text, 100, subsequent_indent='     ',
                                 break_long_words=False, break_on_hyphens=False))

    bad = [r for r in report.results if r.status == 'FAIL']
    if bad:
        section('What was found')
        for r in bad:
            item(r, True)
    checks = report.table_checks()
    if checks:
        section('Patches and checks')
        out.append('X found, ? waits for somebody, - not run, . in order, blank: not concerned')
        out.append('')
        width = max(len(p) for p in report.patches)
        for n, check in enumerate(checks):
            out.append(' ' * (width + 2) + '  '.join('|' * n) + '  ' * bool(n) + check)
        for patch in report.patches:
            cells = [report.cell(patch, c) or ' ' for c in checks]
            out.append(('%-*s  ' % (width, patch) + '  '.join(cells)).rstrip())
    for check in report.checks:
        section(check)
        for r in report.of(check):
            item(r, False)
    return '\n'.join(out) + '\n'


STYLE = '''
:root { color-scheme: light dark; --line: #8886; --bad: #b3261e; --open: #8a5a00;
  --good: #1b6e2e; }
@media (prefers-color-scheme: dark) {
  :root { --bad: #ff8a80; --open: #ffc46b; --good: #7fd694; } }
body { font: 16px/1.45 system-ui, sans-serif; max-width: 60rem; margin: 0 auto;
  padding: 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.35rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem;
  border-bottom: 1px solid var(--line); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem .8rem; }
dd { margin: 0; }
ul { list-style: none; padding: 0; margin: 0; }
li { padding: .35rem 0; border-bottom: 1px solid var(--line); }
b.s { display: inline-block; min-width: 3.2em; font-size: .8rem; }
.FAIL { color: var(--bad); } .OPEN { color: var(--open); } .PASS { color: var(--good); }
.p { font-weight: 600; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; overflow-wrap: normal; }
th, td { padding: .15rem .4rem; border: 1px solid var(--line); text-align: left; }
td { text-align: center; } td.FAIL, td.OPEN { font-weight: 700; }
th.v { writing-mode: vertical-rl; }
@media (max-width: 36rem) {
  table { font-size: .7rem; } th, td { padding: .1rem .12rem; } tr > :first-child { max-width: 8.5rem; } }
@media print {
  :root { color-scheme: light; --bad: #000; --open: #000; --good: #000; }
  body { max-width: none; padding: 0; font-size: 9.5pt; }
  h2 { break-after: avoid; } li, tr { break-inside: avoid; }
  .wide { overflow: visible; } table { font-size: 7.5pt; } th, td { padding: .05rem .2rem; }
}
'''


def as_html(report):
    """The same for a browser, a phone and paper."""
    esc = html.escape
    out = ['<!DOCTYPE html>', '<html lang="en"><head><meta charset="utf-8">',
           '<meta name="viewport" content="width=device-width, initial-scale=1">',
           '<title>%s</title>' % esc(report.verdict()), '<style>%s</style>' % STYLE,
           '</head><body>',
           '<h1 class="%s">%s</h1>' % ('PASS' if report.green else 'FAIL', esc(report.verdict())),
           '<dl>']
    out += ['<dt>%s</dt><dd>%s</dd>' % (esc(k), esc(v)) for k, v in report.about]
    out += ['</dl>', '<p>Each result is one of: %s.</p>' % ', '.join(
        '<b class="%s">%s</b> (%s)' % (s, s, MEANS[s]) for s in STATES)]

    def item(r, with_check):
        out.append('<li><b class="s %s">%s</b> <span class="p">%s</span>%s: %s</li>' % (
            r.status, r.status, esc(r.patch), ' ' + esc(r.check) if with_check else '',
            esc(r.text)))

    bad = [r for r in report.results if r.status == 'FAIL']
    if bad:
        out.append('<h2>What was found</h2><ul>')
        for r in bad:
            item(r, True)
        out.append('</ul>')
    checks = report.table_checks()
    if checks:
        out.append('<h2>Patches and checks</h2><p>X found, ? waits for somebody, - not run, '
                   '. in order, blank: not concerned</p><div class="wide"><table><tr><th></th>')
        out += ['<th class="v">%s</th>' % esc(c) for c in checks]
        out.append('</tr>')
        for patch in report.patches:
            out.append('<tr><th>%s</th>' % esc(patch))
            for check in checks:
                state = worst([r for r in report.of(check) if r.patch == patch])
                out.append('<td class="%s">%s</td>' % (state or '', report.cell(patch, check)))
            out.append('</tr>')
        out.append('</table></div>')
    for check in report.checks:
        out.append('<h2>%s</h2><ul>' % esc(check))
        for r in report.of(check):
            item(r, False)
        out.append('</ul>')
    return '\n'.join(out + ['</body></html>', ''])


def main():
    if len(sys.argv) != 2:
        print(__doc__.split('\n\n')[1], file=sys.stderr)
        return 2
    stage = sys.argv[1]
    report = Report(stage)
    for name, make in (('report.txt', as_text), ('report.html', as_html)):
        with open(os.path.join(stage, name), 'w', encoding='utf-8') as f:
            f.write(make(report))
    sys.stdout.write(as_text(report))
    return 0 if report.green else 1


if __name__ == '__main__':
    sys.exit(main())
