// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * KUnit tests of page maps: what a type of memory needs, what is left when one
 * range of many fails, in what state pages are handed out after other folios
 * were there, and who is told when the last reference goes.
 *
 * Included by mm/memremap.c, whose static functions it may call. The page maps
 * are real ones of private memory, at addresses where there is nothing; each
 * case has its own, and whoever takes a reference too many or too few makes
 * memunmap_pages() wait, or complete too early. No process maps the pages: that
 * is what hmm-evict-tests in tools/testing/selftests/mm is for. There are no
 * locks; the thread of a case is joined before what it uses is gone.
 */
#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/ioport.h>
#include <linux/kthread.h>
#include <linux/log2.h>
#include <linux/sizes.h>

#define MT_SIZE		SZ_128M
#define MT_ORDER	9U
#define MT_NR		BIT(MT_ORDER)

struct mt_map {
	unsigned int freed;		/* calls of folio_free() */
	unsigned long freed_pages;
	struct dev_pagemap pgmap;	/* last, it may have more ranges */
};

static struct mt_map *mt_of(struct dev_pagemap *pgmap)
{
	return container_of(pgmap, struct mt_map, pgmap);
}

static void mt_folio_free(struct folio *folio)
{
	struct mt_map *map = mt_of(folio->pgmap);

	map->freed++;
	map->freed_pages += folio_nr_pages(folio);
}

static vm_fault_t mt_migrate_to_ram(struct vm_fault *vmf)
{
	return VM_FAULT_SIGBUS;
}

static const struct dev_pagemap_ops mt_ops = {
	.folio_free	= mt_folio_free,
	.migrate_to_ram	= mt_migrate_to_ram,
};

/* Address space for a range, which is given back when the test ends. */
static void mt_release(void *data)
{
	struct resource *res = data;

	release_mem_region(res->start, resource_size(res));
}

static struct range mt_range(struct kunit *test, unsigned long size)
{
	struct resource *res = request_free_mem_region(&iomem_resource, size,
						       "hmm_memremap_kunit");

	KUNIT_ASSERT_FALSE(test, IS_ERR(res));
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, mt_release, res));
	return (struct range){ .start = res->start, .end = res->end };
}

/* A page map of @nr ranges that is not mapped yet. */
static struct mt_map *mt_new(struct kunit *test, int nr)
{
	struct mt_map *map = kunit_kzalloc(test, struct_size(map, pgmap.ranges, nr),
					   GFP_KERNEL);
	int i;

	KUNIT_ASSERT_NOT_NULL(test, map);
	map->pgmap.type = MEMORY_DEVICE_PRIVATE;
	map->pgmap.owner = map;
	map->pgmap.ops = &mt_ops;
	map->pgmap.nr_range = nr;
	for (i = 0; i < nr; i++)
		map->pgmap.ranges[i] = mt_range(test, MT_SIZE);
	return map;
}

static struct mt_map *mt_mapped(struct kunit *test)
{
	struct mt_map *map = mt_new(test, 1);

	KUNIT_ASSERT_FALSE(test, IS_ERR(memremap_pages(&map->pgmap, NUMA_NO_NODE)));
	return map;
}

static struct page *mt_page(struct mt_map *map, unsigned long i)
{
	return pfn_to_page(PHYS_PFN(map->pgmap.range.start) + i);
}

static int mt_take(struct mt_map *map, unsigned long i, unsigned int order)
{
	return zone_device_page_init(mt_page(map, i), &map->pgmap, order);
}

static void mt_put(struct mt_map *map, unsigned long i)
{
	struct folio *folio = page_folio(mt_page(map, i));

	folio_unlock(folio);
	folio_put(folio);
}

/* Pages @i and so on are a folio of @order as zone_device_page_init() makes it. */
static void mt_expect_folio(struct kunit *test, struct mt_map *map,
			    unsigned long i, unsigned int order)
{
	struct folio *folio = (struct folio *)mt_page(map, i);
	unsigned long j, bad = 0;

	KUNIT_EXPECT_EQ(test, folio_ref_count(folio), 1);
	KUNIT_EXPECT_TRUE(test, folio_test_locked(folio));
	KUNIT_EXPECT_FALSE(test, PageTail(&folio->page));
	KUNIT_EXPECT_EQ(test, folio_order(folio), order);
	KUNIT_EXPECT_EQ(test, folio_nr_pages(folio), 1UL << order);
	KUNIT_EXPECT_PTR_EQ(test, folio->pgmap, &map->pgmap);
	KUNIT_EXPECT_PTR_EQ(test, folio->mapping, NULL);
	KUNIT_EXPECT_FALSE(test, folio_mapped(folio));
	for (j = 1; j < 1UL << order; j++) {
		struct page *page = mt_page(map, i + j);

		/* the first has the order there, the next two lists and counts */
		bad += page_folio(page) != folio || page_ref_count(page) ||
		       (j > 1 && (page->flags.f & PAGE_FLAGS_SHAPE)) ||
		       (j > 3 && page->mapping != TAIL_MAPPING);
	}
	KUNIT_EXPECT_EQ(test, bad, 0);
}

/* None of the pages [@i, @i + @nr) is part of a large folio. */
static void mt_expect_single(struct kunit *test, struct mt_map *map,
			     unsigned long i, unsigned long nr)
{
	unsigned long bad = 0;

	for (; nr--; i++) {
		struct page *page = mt_page(map, i);

		bad += PageCompound(page) || page_pgmap(page) != &map->pgmap;
#ifdef CONFIG_MEMCG
		bad += !!page->memcg_data;
#endif
	}
	KUNIT_EXPECT_EQ(test, bad, 0);
}

struct mt_rule {
	enum memory_type type;
	bool owner, folio_free, migrate_to_ram;
};

static const struct mt_rule mt_rules[] = {
	{ MEMORY_DEVICE_PRIVATE, true, true, true },
	{ MEMORY_DEVICE_COHERENT, true, true, false },
	{ MEMORY_DEVICE_FS_DAX, false, false, false },
	{ MEMORY_DEVICE_GENERIC, false, false, false },
	{ MEMORY_DEVICE_PCI_P2PDMA, false, true, false },
};

/* All 16 combinations of what an owner may forget, for each type. */
static void mt_test_rules(struct kunit *test)
{
	unsigned int i, have;

	for (i = 0; i < ARRAY_SIZE(mt_rules); i++) {
		const struct mt_rule *rule = &mt_rules[i];

		for (have = 0; have < 16; have++) {
			struct dev_pagemap_ops ops = {
				.folio_free = have & 1 ? mt_folio_free : NULL,
				.migrate_to_ram = have & 2 ? mt_migrate_to_ram : NULL,
			};
			struct dev_pagemap pgmap = {
				.type = rule->type,
				.nr_range = 1,
				.owner = have & 4 ? test : NULL,
				.ops = have & 8 ? &ops : NULL,
			};
			bool ok = (!rule->folio_free || (have & 9) == 9) &&
				  (!rule->migrate_to_ram || (have & 10) == 10) &&
				  (!rule->owner || have & 4);

			KUNIT_EXPECT_EQ_MSG(test, ok, !pgmap_lacks(&pgmap),
					    "type %d, has %#x", rule->type, have);
		}
	}
}

/* What no type can be without. */
static void mt_test_rules_all(struct kunit *test)
{
	struct dev_pagemap pgmap = { .type = MEMORY_DEVICE_GENERIC, .nr_range = 1 };

	KUNIT_EXPECT_NULL(test, pgmap_lacks(&pgmap));
	pgmap.nr_range = 0;
	KUNIT_EXPECT_NOT_NULL(test, pgmap_lacks(&pgmap));
	pgmap.nr_range = 2;
	KUNIT_EXPECT_NULL(test, pgmap_lacks(&pgmap));
	pgmap.flags = PGMAP_ALTMAP_VALID;
	KUNIT_EXPECT_NOT_NULL(test, pgmap_lacks(&pgmap));
	pgmap.nr_range = 1;
	pgmap.vmemmap_shift = MAX_FOLIO_ORDER + 1;
	KUNIT_EXPECT_NOT_NULL(test, pgmap_lacks(&pgmap));
	pgmap.vmemmap_shift = 0;
	pgmap.type = 0;
	KUNIT_EXPECT_NOT_NULL(test, pgmap_lacks(&pgmap));
	pgmap.type = MEMORY_DEVICE_PCI_P2PDMA + 1;
	KUNIT_EXPECT_NOT_NULL(test, pgmap_lacks(&pgmap));
	KUNIT_EXPECT_EQ(test, PTR_ERR(memremap_pages(&pgmap, NUMA_NO_NODE)), -EINVAL);
}

/* Which pfns belong to a page map of two ranges, the altmap's do not. */
static void mt_test_holds(struct kunit *test)
{
	struct mt_map *map = kunit_kzalloc(test, struct_size(map, pgmap.ranges, 2),
					   GFP_KERNEL);
	struct vmem_altmap altmap = { .base_pfn = 0x1000, .reserve = 2, .free = 6 };
	struct dev_pagemap *pgmap;

	KUNIT_ASSERT_NOT_NULL(test, map);
	pgmap = &map->pgmap;
	pgmap->nr_range = 2;
	pgmap->ranges[0] = (struct range){ PFN_PHYS(0x1000), PFN_PHYS(0x2000) - 1 };
	pgmap->ranges[1] = (struct range){ PFN_PHYS(0x4000), PFN_PHYS(0x5000) - 1 };

	/* Pages of a range that is not mapped yet are not to be used. */
	KUNIT_EXPECT_FALSE(test, pgmap_pfn_valid(pgmap, 0x1000));
	pgmap->nr_mapped = 1;
	KUNIT_EXPECT_TRUE(test, pgmap_pfn_valid(pgmap, 0x1000));
	KUNIT_EXPECT_FALSE(test, pgmap_pfn_valid(pgmap, 0x4000));
	pgmap->nr_mapped = 2;
	KUNIT_EXPECT_FALSE(test, pgmap_pfn_valid(pgmap, 0xfff));
	KUNIT_EXPECT_TRUE(test, pgmap_pfn_valid(pgmap, 0x1000));
	KUNIT_EXPECT_TRUE(test, pgmap_pfn_valid(pgmap, 0x1fff));
	KUNIT_EXPECT_FALSE(test, pgmap_pfn_valid(pgmap, 0x2000));
	KUNIT_EXPECT_TRUE(test, pgmap_pfn_valid(pgmap, 0x4fff));
	KUNIT_EXPECT_TRUE(test, pgmap_holds(pgmap, 0x1000, 0x1000));
	KUNIT_EXPECT_FALSE(test, pgmap_holds(pgmap, 0x1000, 0x1001));
	KUNIT_EXPECT_FALSE(test, pgmap_holds(pgmap, 0x4001, 0x1000));

	memcpy(&pgmap->altmap, &altmap, sizeof(altmap));
	pgmap->flags = PGMAP_ALTMAP_VALID;
	KUNIT_EXPECT_FALSE(test, pgmap_pfn_valid(pgmap, 0x1007));
	KUNIT_EXPECT_TRUE(test, pgmap_pfn_valid(pgmap, 0x1008));
	KUNIT_EXPECT_TRUE(test, pgmap_pfn_valid(pgmap, 0x4000));
}

/* A page map can be had, is found by its pfns, and is gone after that. */
static void mt_test_map(struct kunit *test)
{
	struct mt_map *map = mt_new(test, 2);
	unsigned long pfn[] = {
		PHYS_PFN(map->pgmap.ranges[0].start),
		PHYS_PFN(map->pgmap.ranges[1].end),
	};
	struct dev_pagemap *found;
	int i, round;

	for (round = 0; round < 2; round++) {
		KUNIT_ASSERT_FALSE(test, IS_ERR(memremap_pages(&map->pgmap, NUMA_NO_NODE)));
		for (i = 0; i < 2; i++) {
			found = get_dev_pagemap(pfn[i]);
			KUNIT_EXPECT_PTR_EQ(test, found, &map->pgmap);
			put_dev_pagemap(found);
			KUNIT_EXPECT_TRUE(test, pgmap_pfn_valid(&map->pgmap, pfn[i]));
		}
		memunmap_pages(&map->pgmap);
		for (i = 0; i < 2; i++) {
			KUNIT_EXPECT_NULL(test, get_dev_pagemap(pfn[i]));
			KUNIT_EXPECT_FALSE(test, pgmap_pfn_valid(&map->pgmap, pfn[i]));
		}
		KUNIT_EXPECT_EQ(test, map->pgmap.nr_range, 2);
	}
}

/*
 * Where all tails of a large folio are in the same few pages of the memory map,
 * these begin anew with each folio, whatever is behind the ranges of the page map.
 */
static void mt_test_compound(struct kunit *test)
{
	struct mt_map *map = mt_new(test, 3);
	struct dev_pagemap *pgmap = &map->pgmap;
	unsigned long i, j, pfn, bad = 0;

	pgmap->vmemmap_shift = ilog2(2 * MT_SIZE) - PAGE_SHIFT;
	pgmap->nr_range = 2;
	for (i = 0; i < 3; i++) {
		struct range *range = &pgmap->ranges[i];

		*range = mt_range(test, 3 * MT_SIZE);
		range->start = ALIGN(range->start, 2 * MT_SIZE);
		range->end = range->start + 2 * MT_SIZE - 1;
	}
	pgmap->ranges[2].start -= MT_SIZE;
	KUNIT_ASSERT_FALSE(test, IS_ERR(memremap_pages(pgmap, NUMA_NO_NODE)));
	for (i = 0; i < 2; i++) {
		pfn = PHYS_PFN(pgmap->ranges[i].start);
		for (j = 0; j < PHYS_PFN(2 * MT_SIZE); j += MT_NR)
			bad += compound_head(pfn_to_page(pfn + j)) != pfn_to_page(pfn);
		KUNIT_EXPECT_EQ(test, compound_order(pfn_to_page(pfn)),
				pgmap->vmemmap_shift);
	}
	KUNIT_EXPECT_EQ(test, bad, 0);
	KUNIT_EXPECT_EQ(test, zone_device_page_init(pfn_to_page(pfn), pgmap, 0), -EINVAL);
	memunmap_pages(pgmap);
}

/* If one range cannot be mapped, none is, and the page map is as before. */
static void mt_test_unwind(struct kunit *test)
{
	struct mt_map *other = mt_mapped(test), *map = mt_new(test, 3);
	struct dev_pagemap *pgmap = &map->pgmap;
	struct range good = pgmap->ranges[2], bad;
	unsigned int i;

	for (i = 0; i < 3; i++) {
		int err = -EBUSY;

		bad = other->pgmap.range;
		if (i == 1) {		/* only one section of it is taken */
			bad.start += MT_SIZE / 2;
			bad.end = bad.start + SZ_2M - 1;
		} else if (i == 2) {	/* where this function is */
			bad.start = round_down(__pa_symbol(mt_test_unwind), SZ_2M);
			bad.end = bad.start + SZ_2M - 1;
			err = -ENXIO;
		}
		pgmap->ranges[2] = bad;
		KUNIT_EXPECT_EQ(test, PTR_ERR(memremap_pages(pgmap, NUMA_NO_NODE)), err);
		KUNIT_EXPECT_EQ(test, pgmap->nr_range, 3);
		KUNIT_EXPECT_EQ(test, pgmap->nr_mapped, 0);
		KUNIT_EXPECT_NULL(test, get_dev_pagemap(PHYS_PFN(pgmap->ranges[0].start)));
		KUNIT_EXPECT_NULL(test, get_dev_pagemap(PHYS_PFN(pgmap->ranges[1].end)));
	}
	/* Who had it still has it. */
	KUNIT_EXPECT_EQ(test, mt_take(other, 0, 0), 0);
	mt_put(other, 0);

	pgmap->ranges[2] = good;
	KUNIT_ASSERT_FALSE(test, IS_ERR(memremap_pages(pgmap, NUMA_NO_NODE)));
	memunmap_pages(pgmap);
	memunmap_pages(&other->pgmap);
	KUNIT_EXPECT_EQ(test, mt_take(other, 0, 0), -EINVAL);	/* it has no pages now */
}

/* Each order there is, at both ends of the memory, is a folio. */
static void mt_test_orders(struct kunit *test)
{
	struct mt_map *map = mt_mapped(test);
	unsigned long pages = 0;
	unsigned int order;

	for (order = 0; order <= MT_ORDER + 2; order++) {
		unsigned long last = PHYS_PFN(MT_SIZE) - (1UL << order);

		KUNIT_ASSERT_EQ(test, mt_take(map, 0, order), 0);
		KUNIT_ASSERT_EQ(test, mt_take(map, last, order), 0);
		mt_expect_folio(test, map, 0, order);
		mt_expect_folio(test, map, last, order);
		mt_put(map, 0);
		mt_put(map, last);
		pages += 2UL << order;
		KUNIT_EXPECT_EQ(test, map->freed_pages, pages);
	}
	memunmap_pages(&map->pgmap);
}

/* What cannot be a folio is refused, and nothing has changed. */
static void mt_test_bounds(struct kunit *test)
{
	struct mt_map *map = mt_mapped(test), *other = mt_mapped(test);

	KUNIT_EXPECT_EQ(test, mt_take(map, 0, MAX_FOLIO_ORDER + 1), -EINVAL);
	KUNIT_EXPECT_EQ(test, mt_take(map, 0, 64), -EINVAL);
	KUNIT_EXPECT_EQ(test, mt_take(map, 1, 1), -EINVAL);
	KUNIT_EXPECT_EQ(test, mt_take(map, 0, 16), -EINVAL);	/* 256M */
	KUNIT_EXPECT_EQ(test, zone_device_page_init(mt_page(map, 0), &other->pgmap, 0),
			-EINVAL);

	KUNIT_ASSERT_EQ(test, mt_take(map, 5, 0), 0);
	KUNIT_EXPECT_EQ(test, mt_take(map, 5, 0), -EBUSY);
	KUNIT_EXPECT_EQ(test, mt_take(map, 4, 1), -EBUSY);
	KUNIT_EXPECT_EQ(test, mt_take(map, 0, MT_ORDER), -EBUSY);
	mt_expect_folio(test, map, 5, 0);
	mt_put(map, 5);
	mt_expect_single(test, map, 0, MT_NR);

	KUNIT_ASSERT_EQ(test, mt_take(map, 0, MT_ORDER), 0);
	KUNIT_EXPECT_EQ(test, mt_take(map, 5, 0), -EBUSY);
	KUNIT_EXPECT_EQ(test, mt_take(map, 256, 8), -EBUSY);
	mt_expect_folio(test, map, 0, MT_ORDER);
	mt_put(map, 0);

	KUNIT_EXPECT_EQ(test, map->freed, 2);
	memunmap_pages(&map->pgmap);
	memunmap_pages(&other->pgmap);
}

/* A folio of the shape that was there before costs no work on its tails. */
static void mt_test_again(struct kunit *test)
{
	const unsigned long kept = BIT(PG_has_hwpoisoned);
	struct mt_map *map = mt_mapped(test);
	struct folio *folio = (struct folio *)mt_page(map, 0);
	int round;

	KUNIT_ASSERT_EQ(test, mt_take(map, 0, MT_ORDER), 0);
	for (round = 0; round < 3; round++) {
		mt_put(map, 0);
		/* Nobody reads this of a tail: it tells who writes. */
		mt_page(map, 77)->share = 0x77;
		mt_page(map, MT_NR - 1)->share = 0x78;
		folio->_flags_1 |= kept | BIT(PG_large_rmappable);
		KUNIT_ASSERT_EQ(test, mt_take(map, 0, MT_ORDER), 0);
		mt_expect_folio(test, map, 0, MT_ORDER);
		KUNIT_EXPECT_EQ(test, mt_page(map, 77)->share, 0x77);
		KUNIT_EXPECT_EQ(test, mt_page(map, MT_NR - 1)->share, 0x78);
		KUNIT_EXPECT_EQ(test, kept | MT_ORDER,
				folio->_flags_1 & PAGE_FLAGS_SECOND);
	}
	mt_put(map, 0);
	KUNIT_EXPECT_EQ(test, map->freed_pages, 4 * MT_NR);
	memunmap_pages(&map->pgmap);
}

/* Other folios where one was: the marks of the old one are gone, all of them. */
static void mt_test_reshape(struct kunit *test)
{
	struct mt_map *map = mt_mapped(test);
	struct page *page = mt_page(map, 77);
	unsigned long i;

	/* One page from the middle. What the owner keeps in a page stays. */
	KUNIT_ASSERT_EQ(test, mt_take(map, 0, MT_ORDER), 0);
	mt_put(map, 0);
	page->zone_device_data = map;
	KUNIT_ASSERT_EQ(test, mt_take(map, 77, 0), 0);
	KUNIT_EXPECT_PTR_EQ(test, page->zone_device_data, (void *)map);
	mt_expect_folio(test, map, 77, 0);
	mt_expect_single(test, map, 0, MT_NR);
	KUNIT_EXPECT_EQ(test, mt_take(map, 0, MT_ORDER), -EBUSY);
	mt_put(map, 77);

	/* The front, as smaller folios, which a large one swallows. */
	for (i = 0; i < MT_NR; i += 4)
		KUNIT_ASSERT_EQ(test, mt_take(map, i, 2), 0);
	for (i = 0; i < MT_NR; i += 4) {
		mt_expect_folio(test, map, i, 2);
		mt_put(map, i);
	}
	KUNIT_ASSERT_EQ(test, mt_take(map, 0, MT_ORDER), 0);
	mt_expect_folio(test, map, 0, MT_ORDER);
	mt_put(map, 0);

	/* The head alone, and the same head for less. */
	KUNIT_ASSERT_EQ(test, mt_take(map, 0, 0), 0);
	mt_expect_folio(test, map, 0, 0);
	mt_expect_single(test, map, 1, MT_NR - 1);
	mt_put(map, 0);
	KUNIT_ASSERT_EQ(test, mt_take(map, 0, MT_ORDER), 0);
	mt_put(map, 0);
	KUNIT_ASSERT_EQ(test, mt_take(map, 0, 3), 0);
	mt_expect_folio(test, map, 0, 3);
	mt_expect_single(test, map, 8, MT_NR - 8);
	mt_put(map, 0);
	memunmap_pages(&map->pgmap);
}

/* A closed page map refuses pages, and counts none. */
static void mt_test_closed(struct kunit *test)
{
	struct mt_map *map = mt_mapped(test);

	KUNIT_ASSERT_EQ(test, mt_take(map, 1, 0), 0);
	memremap_close(&map->pgmap);
	KUNIT_EXPECT_EQ(test, mt_take(map, 0, 0), -ENODEV);
	KUNIT_EXPECT_EQ(test, mt_take(map, MT_NR, MT_ORDER), -ENODEV);
	mt_expect_single(test, map, 0, 2 * MT_NR);
	mt_put(map, 1);			/* what is out comes back */
	KUNIT_EXPECT_EQ(test, map->freed, 1);
	memremap_open(&map->pgmap);
	KUNIT_EXPECT_EQ(test, mt_take(map, 0, 0), 0);
	mt_put(map, 0);

	/* Mapping it anew opens it. */
	memremap_close(&map->pgmap);
	memunmap_pages(&map->pgmap);
	KUNIT_ASSERT_FALSE(test, IS_ERR(memremap_pages(&map->pgmap, NUMA_NO_NODE)));
	KUNIT_EXPECT_EQ(test, mt_take(map, 0, 0), 0);
	mt_put(map, 0);
	memunmap_pages(&map->pgmap);
}

static int mt_unmap_thread(void *data)
{
	memunmap_pages(data);
	return 0;
}

/* memunmap_pages() waits for each page of a folio, and lets no new one out. */
static void mt_test_dying(struct kunit *test)
{
	struct mt_map *map = mt_mapped(test);
	struct task_struct *task;
	int i;

	KUNIT_ASSERT_EQ(test, mt_take(map, 0, MT_ORDER), 0);
	KUNIT_ASSERT_EQ(test, mt_take(map, MT_NR, 0), 0);
	task = kthread_create(mt_unmap_thread, &map->pgmap, "hmm_memremap");
	KUNIT_ASSERT_FALSE(test, IS_ERR(task));
	get_task_struct(task);
	wake_up_process(task);

	for (i = 0; i < 1000 && !percpu_ref_is_dying(&map->pgmap.ref); i++)
		fsleep(10 * USEC_PER_MSEC);
	KUNIT_EXPECT_TRUE(test, percpu_ref_is_dying(&map->pgmap.ref));
	KUNIT_EXPECT_EQ(test, mt_take(map, 2 * MT_NR, 0), -ENODEV);
	KUNIT_EXPECT_NULL(test, get_dev_pagemap(PHYS_PFN(map->pgmap.range.start)));

	mt_put(map, MT_NR);
	fsleep(50 * USEC_PER_MSEC);
	KUNIT_EXPECT_FALSE(test, completion_done(&map->pgmap.done));
	KUNIT_EXPECT_EQ(test, map->freed, 1);
	mt_put(map, 0);
	kthread_stop_put(task);
	KUNIT_EXPECT_EQ(test, map->freed, 2);
}

/* The last reference to the page map goes, too, and something else is there. */
static void mt_folio_free_last(struct folio *folio)
{
	struct mt_map *map = mt_of(folio->pgmap);

	map->freed++;
	map->pgmap.type = MEMORY_DEVICE_GENERIC;
	map->pgmap.ops = NULL;
}

static const struct dev_pagemap_ops mt_last_ops = {
	.folio_free	= mt_folio_free_last,
};

/* What becomes of a fake folio of @type when the last reference goes. */
static bool mt_free_wakes(struct kunit *test, enum memory_type type,
			  struct folio *folio, struct mt_map *map)
{
	struct wait_bit_queue_entry wait;
	wait_queue_head_t *head = __var_waitqueue(&folio->page);
	bool woken;

	memset(folio, 0, sizeof(*folio));
	map->pgmap.type = type;
	folio->pgmap = &map->pgmap;
	folio->mapping = (struct address_space *)test;
	folio->share = 3;

	init_wait_var_entry(&wait, &folio->page, 0);
	prepare_to_wait_event(head, &wait.wq_entry, TASK_UNINTERRUPTIBLE);
	free_zone_device_folio(folio);
	woken = list_empty(&wait.wq_entry.entry);
	finish_wait(head, &wait.wq_entry);
	return woken;
}

/* Who waits for a FS_DAX page is woken; the file system's fields stay. */
static void mt_test_free(struct kunit *test)
{
	struct folio *folio = kunit_kzalloc(test, sizeof(*folio), GFP_KERNEL);
	struct mt_map *map = kunit_kzalloc(test, sizeof(*map), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, folio);
	KUNIT_ASSERT_NOT_NULL(test, map);
	map->pgmap.nr_range = 1;

	KUNIT_EXPECT_TRUE(test, mt_free_wakes(test, MEMORY_DEVICE_FS_DAX, folio, map));
	KUNIT_EXPECT_EQ(test, folio_ref_count(folio), 0);
	KUNIT_EXPECT_PTR_EQ(test, folio->mapping, (struct address_space *)test);
	KUNIT_EXPECT_EQ(test, folio->share, 3);

	KUNIT_EXPECT_FALSE(test, mt_free_wakes(test, MEMORY_DEVICE_GENERIC, folio, map));
	KUNIT_EXPECT_EQ(test, folio_ref_count(folio), 1);
	KUNIT_EXPECT_PTR_EQ(test, folio->mapping, (struct address_space *)test);

	map->pgmap.ops = &mt_last_ops;
	KUNIT_EXPECT_FALSE(test, mt_free_wakes(test, MEMORY_DEVICE_PCI_P2PDMA, folio, map));
	KUNIT_EXPECT_EQ(test, folio_ref_count(folio), 0);
	KUNIT_EXPECT_PTR_EQ(test, folio->mapping, NULL);
	KUNIT_EXPECT_EQ(test, map->freed, 1);
}

static struct kunit_case hmm_memremap_cases[] = {
	KUNIT_CASE(mt_test_rules),
	KUNIT_CASE(mt_test_rules_all),
	KUNIT_CASE(mt_test_holds),
	KUNIT_CASE(mt_test_map),
	KUNIT_CASE(mt_test_compound),
	KUNIT_CASE(mt_test_unwind),
	KUNIT_CASE(mt_test_orders),
	KUNIT_CASE(mt_test_bounds),
	KUNIT_CASE(mt_test_again),
	KUNIT_CASE(mt_test_reshape),
	KUNIT_CASE(mt_test_closed),
	KUNIT_CASE(mt_test_dying),
	KUNIT_CASE(mt_test_free),
	{}
};

static struct kunit_suite hmm_memremap_suite = {
	.name = "hmm_memremap",
	.test_cases = hmm_memremap_cases,
};

kunit_test_suite(hmm_memremap_suite);
