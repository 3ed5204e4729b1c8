#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The driver skeleton of samples/hmm: is it loaded and unloaded, does its device
# see the memory of the process that has opened it, and do the entries of its
# page table go when that memory changes?
#
# boot: -m 2G -t 120

ko=$BUILD/samples/hmm/hmm_mirror_skeleton.ko
insmod "$ko"

echo "TAP version 13"
echo "1..9"
perl - <<'END'
use strict;
use warnings;

# As the x86-64 kernel numbers them.
my ($MMAP, $MPROTECT, $MUNMAP, $MADVISE) = (9, 10, 11, 28);
my ($READ, $RW, $PRIVATE_ANONYMOUS, $DONTNEED) = (1, 3, 0x22, 4);

my ($n, $failed) = (0, 0);
sub result {
	my ($good, $name) = @_;
	$n++;
	$failed ||= !$good;
	print $good ? "" : "not ", "ok $n $name\n";
}

my $page = 4096;
my $size = 512 * $page;
my $data = join "", map { pack "Q<", $_ } 1 .. $size / 8;
open my $device, "+<", "/dev/hmm_skeleton" or die "/dev/hmm_skeleton: $!\n";
my $addr = syscall $MMAP, 0, $size, $RW, $PRIVATE_ANONYMOUS, -1, 0;
die "mmap: $!\n" if $addr == -1;

sub entries {
	open my $info, "<", "/proc/self/fdinfo/" . fileno $device or die $!;
	return (map { /^entries:\s+(\d+)$/ } <$info>)[0];
}

sub device_read {
	sysseek $device, $_[0], 0;
	my $got = sysread $device, my $bytes, $_[1];
	return $got ? $bytes : "";
}

sub device_write {
	sysseek $device, $_[0], 0;
	return syswrite $device, $_[1];
}

result(entries() == 0, "nothing is mirrored at first");
result(device_write($addr, $data) == $size, "the device writes");
result(unpack("P$size", pack("Q", $addr)) eq $data,
       "the CPU reads what the device wrote");
result(device_read($addr, $size) eq $data && entries() == 512,
       "the device reads it, and has an entry for each page");

syscall $MADVISE, $addr, 16 * $page, $DONTNEED;
my $left = entries();
result($left <= 512 - 16, "entries go with MADV_DONTNEED");
result(device_read($addr, 16 * $page) eq "\0" x (16 * $page),
       "the device sees the new pages");

syscall $MPROTECT, $addr, $size, $READ;
result(!defined device_write($addr, "x") && $!{EPERM},
       "the device cannot write to read-only memory");

device_read($addr, $size);
$left = entries();
syscall $MUNMAP, $addr, $size;
result($left == 512 && entries() == 0 && device_read($addr, 1) eq "" &&
       $!{EFAULT}, "entries go with munmap");
exit $failed;
END

# Its mm has gone by the time of the read.
if LC_ALL=C sh -c 'exec 3<>/dev/hmm_skeleton
		exec dd bs=1 count=1 skip=65536 iflag=skip_bytes <&3' 2>&1 |
		grep 'No such process' >/tmp/exec.log; then
	echo "ok 9 no access after the end of the address space"
else
	sed 's/^/# /' /tmp/exec.log
	echo "not ok 9 no access after the end of the address space"
	exit 1
fi
rmmod hmm_mirror_skeleton
