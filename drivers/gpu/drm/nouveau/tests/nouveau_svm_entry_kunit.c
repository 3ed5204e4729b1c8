// SPDX-License-Identifier: MIT
/*
 * KUnit tests of what nvkm does for SVM: page tables, and entries in these, bit by
 * bit. No process is needed. Nothing runs at the same time.
 */
#include <kunit/test.h>
#include <linux/string.h>

#include "nouveau_svm_kunit.h"

static int entry_call(struct svm_test *st, u32 mthd, void *args, u32 size)
{
	return nvif_object_mthd(&st->fake.vmm, mthd, args, size);
}

static int entry_range(struct svm_test *st, u32 mthd, u8 page, u64 addr,
		       u64 size)
{
	struct nvif_vmm_svm_v0 args = {
		.page = page,
		.addr = addr,
		.size = size,
	};

	return entry_call(st, mthd, &args, sizeof(args));
}

static int entry_get(struct svm_test *st, u64 addr, u64 size)
{
	return entry_range(st, NVIF_VMM_V0_SVMGET, 0, addr, size);
}

static int entry_put(struct svm_test *st, u64 addr, u64 size)
{
	return entry_range(st, NVIF_VMM_V0_SVMPUT, 0, addr, size);
}

static int entry_clear(struct svm_test *st, u8 page, u64 addr, u64 size)
{
	return entry_range(st, NVIF_VMM_V0_SVMCLR, page, addr, size);
}

static int entry_map(struct svm_test *st, u8 page, u64 addr,
		     const struct nvif_vmm_svm_run *runs, u32 nr)
{
	struct nvif_vmm_svmmap_v0 *args;
	u32 i;
	int ret;

	args = kunit_kzalloc(st->test, struct_size(args, run, nr), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(st->test, args);
	args->page = page;
	args->addr = addr;
	args->nr = nr;
	for (i = 0; i < nr; i++) {
		args->run[i] = runs[i];
		args->size += runs[i].size;
	}
	ret = entry_call(st, NVIF_VMM_V0_SVMMAP, args,
			 struct_size(args, run, nr));
	kunit_kfree(st->test, args);
	return ret;
}

/* ---- Bits ---- */

/**
 * struct entry_chip - a generation of GPUs
 * @name: the first one of it
 * @vmm_new: constructor of its address space
 * @svm: whether its page tables are known to SVM
 */
struct entry_chip {
	const char *name;
	nouveau_svm_fake_vmm_new vmm_new;
	bool svm;
};

static const struct entry_chip entry_chips[] = {
	{ "gp100", gp100_vmm_new, true },
	{ "gp10b", gp10b_vmm_new, true },
	{ "gv100", gv100_vmm_new, true },
	{ "tu102", tu102_vmm_new, true },
	{ "gh100", gh100_vmm_new, false },
};

static void entry_chip_desc(const struct entry_chip *chip, char *desc)
{
	strscpy(desc, chip->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(entry_chip, entry_chips, entry_chip_desc);

/* The same case for another GPU than that of svm_test_init(). */
static struct svm_test *entry_on_chip(struct kunit *test)
{
	const struct entry_chip *chip = test->param_value;
	struct svm_test *st = test->priv;
	struct device *dev = st->fake.dev;

	nouveau_svm_fake_fini(&st->fake);
	st->faked = false;
	KUNIT_ASSERT_EQ(test, 0, nouveau_svm_fake_init(&st->fake, dev,
						       chip->vmm_new));
	st->faked = true;
	return st;
}

/* Flags, and the entry that the manual has for them, address aside. */
static const struct {
	u64 flags, pte;
} entry_bits[] = {
	/* Of system memory: VALID, SYSTEM_COHERENT_MEMORY, VOL, ... */
	{ 0, 0x0d | BIT(6) | BIT(7) },
	{ NVIF_VMM_SVM_WRITE, 0x0d | BIT(7) },
	{ NVIF_VMM_SVM_ATOMIC, 0x0d | BIT(6) },
	{ NVIF_VMM_SVM_WRITE | NVIF_VMM_SVM_ATOMIC, 0x0d },
	/* Of VRAM: VALID, VIDEO_MEMORY, no VOL, ... */
	{ NVIF_VMM_SVM_VRAM, 0x01 | BIT(6) | BIT(7) },
	{ NVIF_VMM_SVM_VRAM | NVIF_VMM_SVM_WRITE, 0x01 | BIT(7) },
	{ NVIF_VMM_SVM_VRAM | NVIF_VMM_SVM_WRITE | NVIF_VMM_SVM_ATOMIC, 0x01 },
};

/* What the fake's reader takes for these bits is what the manual says. */
static_assert((GP100_PTE_VALID | GP100_PTE_APERTURE_COHERENT | GP100_PTE_VOL |
	       GP100_PTE_READ_ONLY | GP100_PTE_ATOMIC_DISABLE) == 0xcd);

static void entry_check_bits(struct svm_test *st, u8 shift, u64 addr)
{
	const u64 va = SVM_TEST_START + SZ_2M;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(entry_bits); i++) {
		u64 flags = entry_bits[i].flags, size, entry;
		/* VRAM has fewer address bits, the others are tags. */
		u64 phys = flags & NVIF_VMM_SVM_VRAM ? addr % BIT_ULL(37) : addr;
		struct nvif_vmm_svm_run run = {
			.phys = phys | flags,
			.size = BIT_ULL(shift),
		};

		KUNIT_EXPECT_EQ(st->test, 0, entry_map(st, shift, va, &run, 1));
		entry = nouveau_svm_fake_entry(&st->fake, va, &size);
		/* Address bits 12 and up are bits 8 and up of the entry. */
		KUNIT_EXPECT_EQ_MSG(st->test, entry,
				    entry_bits[i].pte | phys >> 12 << 8,
				    "flags %llx, address %llx", flags,
				    phys);
		KUNIT_EXPECT_EQ(st->test, size, run.size);
		KUNIT_EXPECT_EQ(st->test, 0,
				entry_clear(st, shift, va, run.size));
		KUNIT_EXPECT_EQ(st->test, 0,
				nouveau_svm_fake_entry(&st->fake, va, &size));
	}
}

static void svm_entry_bits(struct kunit *test)
{
	static const u64 phys[] = { 0, SZ_2M, 0x3ffffe00000, 0x7fffffe00000 };
	const struct entry_chip *chip = test->param_value;
	struct svm_test *st = entry_on_chip(test);
	unsigned int i;

	if (!chip->svm) {
		KUNIT_EXPECT_EQ(test, -EOPNOTSUPP,
				entry_get(st, SVM_TEST_START, SZ_4M));
		return;
	}
	KUNIT_ASSERT_EQ(test, 0, entry_get(st, SVM_TEST_START, SZ_4M));
	for (i = 0; i < ARRAY_SIZE(phys); i++) {
		entry_check_bits(st, PAGE_SHIFT, phys[i]);
		entry_check_bits(st, PAGE_SHIFT, phys[i] + SZ_4K);
		entry_check_bits(st, NOUVEAU_SVM_BLOCK_SHIFT, phys[i]);
	}
	KUNIT_EXPECT_EQ(test, 0, entry_put(st, SVM_TEST_START, SZ_4M));
}

/* ---- Ranges ---- */

/* Runs of different lengths, across page tables: one walk, one flush. */
static void svm_entry_runs(struct kunit *test)
{
	static const struct nvif_vmm_svm_run runs[] = {
		{ 0x100000000, 3 * SZ_4K },
		{ 0x200000000 | NVIF_VMM_SVM_WRITE, SZ_4K },
		{ 0x300000000, SZ_2M },
	};
	struct svm_test *st = test->priv;
	int flushes;

	KUNIT_ASSERT_EQ(test, 0, entry_get(st, SVM_TEST_START, SZ_4M));
	flushes = atomic_read(&st->fake.flushes);
	KUNIT_EXPECT_EQ(test, 0, entry_map(st, PAGE_SHIFT, SVM_TEST_START, runs,
					   ARRAY_SIZE(runs)));
	KUNIT_EXPECT_EQ(test, atomic_read(&st->fake.flushes), flushes + 1);
	KUNIT_EXPECT_EQ(test, svm_test_phys(st, 0), 0x100000000);
	KUNIT_EXPECT_EQ(test, svm_test_phys(st, 2), 0x100002000);
	KUNIT_EXPECT_EQ(test, svm_test_phys(st, 3), 0x200000000);
	KUNIT_EXPECT_EQ(test, svm_test_phys(st, 4), 0x300000000);
	KUNIT_EXPECT_EQ(test, svm_test_phys(st, 515), 0x3001ff000);
	svm_test_expect_none(st, 516, 1024);
	KUNIT_EXPECT_TRUE(test, svm_test_pte(st, 2) & GP100_PTE_READ_ONLY);
	KUNIT_EXPECT_FALSE(test, svm_test_pte(st, 3) & GP100_PTE_READ_ONLY);

	KUNIT_EXPECT_EQ(test, 0, entry_clear(st, PAGE_SHIFT, svm_test_va(1),
					     514 * PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, atomic_read(&st->fake.flushes), flushes + 2);
	KUNIT_EXPECT_NE(test, svm_test_pte(st, 0), 0);
	svm_test_expect_none(st, 1, 515);
	KUNIT_EXPECT_NE(test, svm_test_pte(st, 515), 0);
	KUNIT_EXPECT_EQ(test, 0, entry_put(st, SVM_TEST_START, SZ_4M));
}

/* Large entries of several tables, one run for all. */
static void svm_entry_large_runs(struct kunit *test)
{
	static const struct nvif_vmm_svm_run runs[] = {
		{ 0x100000000 | NVIF_VMM_SVM_WRITE, SZ_4M },
		{ 0x900000000, SZ_2M },
	};
	struct svm_test *st = test->priv;
	const u64 va = SVM_TEST_START + SZ_512M - SZ_2M;	/* two tables */
	const u64 size = 3 * SZ_2M;
	u64 entry_size;

	KUNIT_ASSERT_EQ(test, 0, entry_get(st, va, size));
	KUNIT_EXPECT_EQ(test, 0, entry_map(st, NOUVEAU_SVM_BLOCK_SHIFT, va,
					   runs, ARRAY_SIZE(runs)));
	KUNIT_EXPECT_EQ(test, nouveau_svm_fake_phys(&st->fake, va),
			0x100000000);
	KUNIT_EXPECT_EQ(test, nouveau_svm_fake_phys(&st->fake, va + SZ_4M - 1),
			0x1003fffff);
	KUNIT_EXPECT_EQ(test, nouveau_svm_fake_phys(&st->fake, va + SZ_4M),
			0x900000000);
	KUNIT_EXPECT_EQ(test, 0, entry_clear(st, NOUVEAU_SVM_BLOCK_SHIFT,
					     va + SZ_2M, SZ_2M));
	KUNIT_EXPECT_EQ(test, 0, nouveau_svm_fake_entry(&st->fake, va + SZ_2M,
							&entry_size));
	KUNIT_EXPECT_NE(test, 0, nouveau_svm_fake_phys(&st->fake, va));
	KUNIT_EXPECT_NE(test, 0, nouveau_svm_fake_phys(&st->fake, va + SZ_4M));
	KUNIT_EXPECT_EQ(test, 0, entry_clear(st, NOUVEAU_SVM_BLOCK_SHIFT, va,
					     size));
	KUNIT_EXPECT_EQ(test, 0, entry_put(st, va, size));
}

/* What a call skips stays as it is, be it an entry or none. */
static void svm_entry_skip(struct kunit *test)
{
	static const struct nvif_vmm_svm_run before = { 0x700000000, SZ_4K };
	static const struct nvif_vmm_svm_run runs[] = {
		{ 0x100000000, SZ_4K },
		{ NVIF_VMM_SVM_SKIP, 6 * SZ_4K },
		{ 0x200000000 | NVIF_VMM_SVM_WRITE, SZ_8K },
	};
	struct svm_test *st = test->priv;

	KUNIT_ASSERT_EQ(test, 0, entry_get(st, SVM_TEST_START, SZ_4M));
	/* From one table to the next. */
	entry_map(st, PAGE_SHIFT, svm_test_va(508), &before, 1);
	entry_map(st, PAGE_SHIFT, svm_test_va(512), &before, 1);
	KUNIT_EXPECT_EQ(test, 0, entry_map(st, PAGE_SHIFT, svm_test_va(507),
					   runs, ARRAY_SIZE(runs)));
	KUNIT_EXPECT_EQ(test, svm_test_phys(st, 507), 0x100000000);
	KUNIT_EXPECT_EQ(test, svm_test_phys(st, 508), 0x700000000);
	svm_test_expect_none(st, 509, 512);
	KUNIT_EXPECT_EQ(test, svm_test_phys(st, 512), 0x700000000);
	svm_test_expect_none(st, 513, 514);
	KUNIT_EXPECT_EQ(test, svm_test_phys(st, 514), 0x200000000);
	KUNIT_EXPECT_EQ(test, svm_test_phys(st, 515), 0x200001000);
	svm_test_expect_none(st, 516, 1024);
	KUNIT_EXPECT_EQ(test, 0, entry_clear(st, PAGE_SHIFT, SVM_TEST_START,
					     SZ_4M));
	svm_test_expect_none(st, 0, 1024);
	KUNIT_EXPECT_EQ(test, 0, entry_put(st, SVM_TEST_START, SZ_4M));
}

/* Small entries below a large one come back when it goes. */
static void svm_entry_large_over_small(struct kunit *test)
{
	static const struct nvif_vmm_svm_run small = { 0x100000000, SZ_4K };
	static const struct nvif_vmm_svm_run large = { 0x200000000, SZ_2M };
	struct svm_test *st = test->priv;

	KUNIT_ASSERT_EQ(test, 0, entry_get(st, SVM_TEST_START, SZ_2M));
	entry_map(st, PAGE_SHIFT, svm_test_va(7), &small, 1);
	entry_map(st, NOUVEAU_SVM_BLOCK_SHIFT, SVM_TEST_START, &large, 1);
	KUNIT_EXPECT_EQ(test, svm_test_phys(st, 7), 0x200007000);
	entry_clear(st, NOUVEAU_SVM_BLOCK_SHIFT, SVM_TEST_START, SZ_2M);
	svm_test_expect_none(st, 0, 7);
	KUNIT_EXPECT_EQ(test, svm_test_phys(st, 7), 0x100000000);
	KUNIT_EXPECT_EQ(test, 0, entry_put(st, SVM_TEST_START, SZ_2M));
}

/*
 * Entries are written under locks that reclaim takes: the tables are mapped for the
 * CPU before, and neither memory nor tables come or go. And nothing is read back.
 */
static void svm_entry_no_memory_to_map(struct kunit *test)
{
	static const struct nvif_vmm_svm_run small = { 0x100000000, SZ_2M };
	static const struct nvif_vmm_svm_run large = { 0x200000000, SZ_2M };
	struct svm_test *st = test->priv;
	const u64 va = SVM_TEST_START;
	unsigned int memories;

	KUNIT_ASSERT_EQ(test, 0, entry_get(st, va, SZ_4M));
	memories = st->fake.nr_memories;
	st->fake.memory_left = 0;
	nouveau_svm_fake_reset(&st->fake);
	KUNIT_EXPECT_EQ(test, 0, entry_map(st, PAGE_SHIFT, va, &small, 1));
	KUNIT_EXPECT_EQ(test, 0, entry_map(st, NOUVEAU_SVM_BLOCK_SHIFT,
					   va + SZ_2M, &large, 1));
	svm_test_expect_none(st, 1024, 1025);
	KUNIT_EXPECT_NE(test, svm_test_pte(st, 1023), 0);
	KUNIT_EXPECT_EQ(test, 0, entry_clear(st, PAGE_SHIFT, va, SZ_2M));
	KUNIT_EXPECT_EQ(test, 0, entry_clear(st, NOUVEAU_SVM_BLOCK_SHIFT,
					     va + SZ_2M, SZ_2M));
	KUNIT_EXPECT_EQ(test, st->fake.nr_memories, memories);
	KUNIT_EXPECT_EQ(test, atomic_read(&st->fake.kmaps), 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&st->fake.reads), 0);
	KUNIT_EXPECT_EQ(test, 0, entry_put(st, va, SZ_4M));
}

/* ---- What fails ---- */

static void svm_entry_bad_ranges(struct kunit *test)
{
	struct svm_test *st = test->priv;
	const u64 va = SVM_TEST_START, hole = NOUVEAU_SVM_FAKE_HOLE;

	KUNIT_EXPECT_EQ(test, -EINVAL, entry_get(st, va, 0));
	KUNIT_EXPECT_EQ(test, -EINVAL, entry_get(st, va + 1, SZ_4K));
	KUNIT_EXPECT_EQ(test, -EINVAL, entry_get(st, va, SZ_4K + 1));
	KUNIT_EXPECT_EQ(test, -EINVAL, entry_get(st, hole, SZ_4K));
	KUNIT_EXPECT_EQ(test, -EINVAL, entry_get(st, hole - SZ_4K, SZ_8K));
	KUNIT_EXPECT_EQ(test, -EINVAL, entry_get(st, -(u64)SZ_4K, SZ_2M));
	KUNIT_EXPECT_EQ(test, -EINVAL, entry_get(st, BIT_ULL(49), SZ_4K));
	KUNIT_EXPECT_EQ(test, -EINVAL, entry_put(st, va, SZ_2M));

	KUNIT_EXPECT_EQ(test, 0, entry_get(st, va, SZ_2M));
	KUNIT_EXPECT_EQ(test, -EEXIST, entry_get(st, va, SZ_2M));
	KUNIT_EXPECT_EQ(test, -EEXIST, entry_get(st, va + SZ_4K, SZ_4K));
	KUNIT_EXPECT_EQ(test, -EINVAL, entry_put(st, va, SZ_4K));
	KUNIT_EXPECT_EQ(test, -EINVAL, entry_put(st, va + SZ_4K, SZ_4K));
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP, entry_clear(st, 16, va, SZ_2M));
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP, entry_clear(st, 0, va, SZ_2M));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			entry_clear(st, NOUVEAU_SVM_BLOCK_SHIFT, va, SZ_4K));
	KUNIT_EXPECT_EQ(test, 0, entry_put(st, va, SZ_2M));
	KUNIT_EXPECT_EQ(test, -EINVAL, entry_put(st, va, SZ_2M));
}

/* Nothing of a call is done that is wrong in part. */
static void svm_entry_bad_runs(struct kunit *test)
{
	static const struct nvif_vmm_svm_run unaligned = { 0x100001000, SZ_2M };
	static const struct nvif_vmm_svm_run runs[] = {
		{ 0x100000000, SZ_4K },
		{ 0x200000000, SZ_4K + 1 },
	};
	struct {
		struct nvif_vmm_svmmap_v0 map;
		struct nvif_vmm_svm_run run[2];
	} args = {
		.map.page = PAGE_SHIFT,
		.map.nr = 2,
		.map.addr = SVM_TEST_START,
		.map.size = SZ_8K,
		.run = { { 0x100000000, SZ_4K }, { 0x200000000, SZ_8K } },
	};
	struct svm_test *st = test->priv;
	const u64 va = SVM_TEST_START;

	KUNIT_EXPECT_EQ(test, 0, entry_get(st, va, SZ_2M));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			entry_map(st, NOUVEAU_SVM_BLOCK_SHIFT, va, &unaligned,
				  1));
	KUNIT_EXPECT_EQ(test, -EINVAL, entry_map(st, PAGE_SHIFT, va, runs, 2));
	/* Longer, and then shorter, than said. */
	KUNIT_EXPECT_EQ(test, -EINVAL,
			entry_call(st, NVIF_VMM_V0_SVMMAP, &args,
				   sizeof(args)));
	args.map.size = SZ_16K;
	KUNIT_EXPECT_EQ(test, -EINVAL,
			entry_call(st, NVIF_VMM_V0_SVMMAP, &args,
				   sizeof(args)));
	svm_test_expect_none(st, 0, 512);
	KUNIT_EXPECT_EQ(test, 0, entry_put(st, va, SZ_2M));
}

/* Arguments that are too short, too long, or of a version to come. */
static void svm_entry_bad_calls(struct kunit *test)
{
	static const u8 mthds[] = {
		NVIF_VMM_V0_SVMGET, NVIF_VMM_V0_SVMPUT, NVIF_VMM_V0_SVMCLR,
	};
	struct {
		struct nvif_vmm_svmmap_v0 map;
		struct nvif_vmm_svm_run run[2];
	} map = {
		.map.page = PAGE_SHIFT,
		.map.nr = U32_MAX,
		.map.addr = SVM_TEST_START,
		.map.size = SZ_4K,
		.run = { { 0x100000000, SZ_4K } },
	};
	struct nvif_vmm_svm_v0 args[2] = {
		{ .page = PAGE_SHIFT, .addr = SVM_TEST_START, .size = SZ_4K },
	};
	struct svm_test *st = test->priv;
	unsigned int i;

	KUNIT_EXPECT_EQ(test, 0, entry_get(st, SVM_TEST_START, SZ_2M));
	for (i = 0; i < ARRAY_SIZE(mthds); i++) {
		args[0].version = 0;
		KUNIT_EXPECT_EQ(test, -EINVAL,
				entry_call(st, mthds[i], args,
					   sizeof(args[0]) - 1));
		KUNIT_EXPECT_EQ(test, -EINVAL,
				entry_call(st, mthds[i], args,
					   sizeof(args[0]) + 1));
		args[0].version = 1;
		KUNIT_EXPECT_EQ(test, -EINVAL,
				entry_call(st, mthds[i], args,
					   sizeof(args[0])));
	}
	KUNIT_EXPECT_EQ(test, -EINVAL,
			entry_call(st, NVIF_VMM_V0_SVMMAP, &map, sizeof(map)));
	map.map.nr = 1;
	KUNIT_EXPECT_EQ(test, -EINVAL,
			entry_call(st, NVIF_VMM_V0_SVMMAP, &map, sizeof(map)));
	map.map.version = 1;
	KUNIT_EXPECT_EQ(test, -EINVAL,
			entry_call(st, NVIF_VMM_V0_SVMMAP, &map,
				   sizeof(map) - sizeof(map.run[0])));
	svm_test_expect_none(st, 0, 1);
	KUNIT_EXPECT_EQ(test, 0, entry_put(st, SVM_TEST_START, SZ_2M));
}

/* Each page table in turn cannot be had. What was got before is given back. */
static void svm_entry_no_memory(struct kunit *test)
{
	struct svm_test *st = test->priv;
	const u64 va = SVM_TEST_START + SZ_512M - SZ_2M;	/* two of each */
	unsigned int n, failed = 0;
	u64 size;
	int ret;

	for (n = 0; n < 100; n++) {
		st->fake.memory_left = n;
		ret = entry_get(st, va, SZ_4M);
		st->fake.memory_left = UINT_MAX;
		if (!ret)
			break;
		failed++;
		KUNIT_EXPECT_EQ(test, ret, -ENOMEM);
		KUNIT_EXPECT_EQ(test, -EINVAL, entry_put(st, va, SZ_4M));
		KUNIT_EXPECT_EQ(test, 0, nouveau_svm_fake_entry(&st->fake, va,
								&size));
		/* Tables that were put may be kept for others; not for long. */
		nvkm_mmu_ptc_dump(st->fake.ummu.mmu);
		KUNIT_EXPECT_EQ_MSG(test, st->fake.nr_memories, 1, "%u", n);
	}
	KUNIT_EXPECT_GE(test, failed, 4);
	KUNIT_EXPECT_EQ(test, ret, 0);
	KUNIT_EXPECT_EQ(test, 0, entry_put(st, va, SZ_4M));
	nvkm_mmu_ptc_dump(st->fake.ummu.mmu);
	KUNIT_EXPECT_EQ(test, st->fake.nr_memories, 1);
}

/* Tables that are got again are empty. */
static void svm_entry_get_again(struct kunit *test)
{
	static const struct nvif_vmm_svm_run run = { 0x100000000, SZ_2M };
	struct svm_test *st = test->priv;
	unsigned int i;

	for (i = 0; i < 20; i++) {
		KUNIT_ASSERT_EQ(test, 0, entry_get(st, SVM_TEST_START, SZ_2M));
		svm_test_expect_none(st, 0, 512);
		KUNIT_EXPECT_EQ(test, 0, entry_map(st, PAGE_SHIFT,
						   SVM_TEST_START, &run, 1));
		KUNIT_EXPECT_EQ(test, 0, entry_clear(st, PAGE_SHIFT,
						     SVM_TEST_START, SZ_2M));
		KUNIT_ASSERT_EQ(test, 0, entry_put(st, SVM_TEST_START, SZ_2M));
		svm_test_expect_none(st, 0, 1);
	}
}

static struct kunit_case svm_entry_cases[] = {
	KUNIT_CASE_PARAM(svm_entry_bits, entry_chip_gen_params),
	KUNIT_CASE(svm_entry_runs),
	KUNIT_CASE(svm_entry_large_runs),
	KUNIT_CASE(svm_entry_skip),
	KUNIT_CASE(svm_entry_large_over_small),
	KUNIT_CASE(svm_entry_no_memory_to_map),
	KUNIT_CASE(svm_entry_bad_ranges),
	KUNIT_CASE(svm_entry_bad_runs),
	KUNIT_CASE(svm_entry_bad_calls),
	KUNIT_CASE(svm_entry_no_memory),
	KUNIT_CASE(svm_entry_get_again),
	{}
};

static struct kunit_suite svm_entry_suite = {
	.name = "nouveau_svm_entry",
	.init = svm_test_init,
	.exit = svm_test_exit,
	.test_cases = svm_entry_cases,
};

kunit_test_suite(svm_entry_suite);
