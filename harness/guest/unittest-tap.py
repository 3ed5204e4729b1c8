#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
#
# Runs a unittest program as it is and writes TAP instead of unittest's report:
# each test is "MODULE.CLASS.TEST", and before it comes as comments why it failed.
# What a test prints goes to stderr. The plan counts what was found, but never less
# than MIN, and MORE results that the caller adds.
#
# usage: unittest-tap.py MIN MORE PROGRAM [ARG OF PROGRAM...]

import contextlib
import os
import runpy
import sys
import unittest


class TapResult(unittest.TestResult):
	"""One line for each test. One that ends in several ways, as with subtests or a
	failing tearDown(), has the worst of them."""

	def __init__(self, stream):
		super().__init__()
		self.stream, self.number = stream, 0

	def startTest(self, test):
		super().startTest(test)
		self.skip, self.trouble = None, []
		self.say(f'# RUN {test.id()}')

	@contextlib.contextmanager
	def started(self, test):
		"""What ends here is a test, or the set-up of a class, never started."""
		setup = not hasattr(test, '_testMethodName')
		if setup:
			self.startTest(test)
		yield
		if setup:
			self.stopTest(test)

	def addSkip(self, test, reason):
		super().addSkip(test, reason)
		with self.started(test):
			self.skip = ' '.join(str(reason).split()) or 'no reason given'

	def addFailure(self, test, err):
		super().addFailure(test, err)
		self.trouble.append(self.failures[-1][1])

	def addError(self, test, err):
		super().addError(test, err)
		with self.started(test):
			self.trouble.append(self.errors[-1][1])

	def addSubTest(self, test, subtest, err):
		super().addSubTest(test, subtest, err)
		if err:
			self.trouble.append(self._exc_info_to_string(err, test))

	def addUnexpectedSuccess(self, test):
		super().addUnexpectedSuccess(test)
		self.trouble.append('passed, but its author expects a failure')

	def stopTest(self, test):
		super().stopTest(test)
		self.number += 1
		for text in self.trouble:
			lines = text.splitlines()
			for line in lines[-1:] + lines[:-1]:	# what is wrong comes first
				self.say(f'# {line}')
		ok = 'not ok' if self.trouble else 'ok'
		skip = f' # SKIP {self.skip}' if self.skip and not self.trouble else ''
		self.say(f'{ok} {self.number} {test.id().removeprefix("tests.")}{skip}')

	def say(self, line):
		self.stream.write(line + '\n')
		self.stream.flush()


class TapRunner:
	"""Takes the place of TextTestRunner in unittest.main()."""

	least = more = 0
	stream = None

	def __init__(self, **_):
		pass

	def run(self, test):
		result = TapResult(self.stream)
		count = max(test.countTestCases(), self.least)
		result.say(f'TAP version 13\n1..{count + self.more}')
		test(result)
		return result


def main():
	if len(sys.argv) < 4 or not all(a.isdigit() for a in sys.argv[1:3]):
		sys.exit('usage: unittest-tap.py MIN MORE PROGRAM [ARG OF PROGRAM...]')
	TapRunner.least, TapRunner.more = map(int, sys.argv[1:3])
	program = sys.argv[3]
	# What tests print themselves must not get between the results.
	TapRunner.stream = os.fdopen(os.dup(1), 'w')
	os.dup2(2, 1)
	unittest.runner.TextTestRunner = TapRunner
	sys.argv = sys.argv[3:]
	sys.path.insert(0, os.path.dirname(program))
	sys.dont_write_bytecode = True
	runpy.run_path(program, run_name='__main__')


if __name__ == '__main__':
	main()
