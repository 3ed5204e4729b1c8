// SPDX-License-Identifier: MIT
/*
 * SVM: windows of an address space that the GPU shares, see nouveau_svm_window.h.
 *
 * A window is made when the GPU faults in it for the first time. It stays, and
 * with it what the GPU can reach, until memory is short and it has had no fault for
 * a while, until others need its place, until the GPU is suspended, or until the
 * process closes the device. After the process's memory is gone a window is empty.
 */
#include <linux/bitmap.h>
#include <linux/jiffies.h>
#include <linux/maple_tree.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/shrinker.h>
#include <linux/slab.h>

#include "nouveau_svm_window.h"

/* Without a fault for that long, a window is given up when memory is short. */
#define IDLE_TIME	(10 * HZ)

static void svm_invalidate(struct hmm_mirror *mirror, unsigned long start,
			   unsigned long end)
{
	nouveau_svm_window_clear(container_of(mirror, struct nouveau_svm_window,
					      mirror), start, end);
}

static const struct hmm_mirror_ops svm_mirror_ops = {
	.invalidate = svm_invalidate,
};

static int svm_window_init(struct nouveau_svm_window *window,
			   struct nouveau_svm_space *space, unsigned long addr)
{
	const struct nouveau_svm_space_args *args = &space->args;
	unsigned long start = round_down(addr, NOUVEAU_SVM_WINDOW);
	unsigned long end = start + NOUVEAU_SVM_WINDOW;
	int ret;

	end = min(end, args->mm->task_size);
	if (addr < args->hole_start)
		end = min(end, args->hole_start);
	else
		start = max(start, args->hole_end);

	window->space = space;
	ret = hmm_mirror_init(&window->mirror, args->mm, args->dev,
			      &svm_mirror_ops, start, end);
	if (ret)
		return ret;
	window->mirror.owner = args->owner;
	ret = mtree_insert_range(&space->windows, start, end - 1, window,
				 GFP_KERNEL);
	if (ret)
		hmm_mirror_destroy(&window->mirror);
	return ret;
}

static void svm_window_del(struct nouveau_svm_window *window)
{
	struct nouveau_svm_space *space = window->space;

	mtree_erase(&space->windows, window->mirror.view.start);
	list_del(&window->lru);
	WRITE_ONCE(space->nr_windows, space->nr_windows - 1);

	nouveau_svm_window_end_atomics(window);
	hmm_mirror_destroy(&window->mirror);
	nouveau_svm_window_unreserve(window);
	kfree(window);
}

static struct nouveau_svm_window *
svm_window_new(struct nouveau_svm_space *space, unsigned long addr)
{
	struct nouveau_svm_window *window;
	int ret;

	if (space->nr_windows >= NOUVEAU_SVM_WINDOWS)
		svm_window_del(list_first_entry(&space->lru,
						struct nouveau_svm_window, lru));
	window = kzalloc_obj(*window);
	if (!window)
		return ERR_PTR(-ENOMEM);
	ret = svm_window_init(window, space, addr);
	if (ret) {
		kfree(window);
		return ERR_PTR(ret);
	}
	list_add_tail(&window->lru, &space->lru);
	WRITE_ONCE(space->nr_windows, space->nr_windows + 1);
	return window;
}

/**
 * nouveau_svm_window_get() - find a window
 * @space: the space
 * @addr: an address in it
 *
 * It is made if it is not there.
 *
 * Context: Under the space's lock, with a reference to the address space. May
 * sleep.
 *
 * Return: the window; -EFAULT if the address is not shared; or an error of
 * hmm_mirror_init().
 */
struct nouveau_svm_window *
nouveau_svm_window_get(struct nouveau_svm_space *space, u64 addr)
{
	const struct nouveau_svm_space_args *args = &space->args;
	struct nouveau_svm_window *window;

	if (addr >= args->mm->task_size ||
	    (addr >= args->hole_start && addr < args->hole_end))
		return ERR_PTR(-EFAULT);
	window = mtree_load(&space->windows, addr);
	if (!window)
		window = svm_window_new(space, addr);
	if (!IS_ERR(window)) {
		window->used = jiffies;
		list_move_tail(&window->lru, &space->lru);
	}
	return window;
}

/* ---- Reclaim ---- */

/**
 * nouveau_svm_space_shrink() - give up the window that has not faulted for longest
 * @space: the space
 *
 * When there is no memory for page tables of the window in use, which is not given
 * up.
 *
 * Context: Under the space's lock. May sleep.
 *
 * Return: whether there was another one.
 */
bool nouveau_svm_space_shrink(struct nouveau_svm_space *space)
{
	if (space->nr_windows < 2)
		return false;
	svm_window_del(list_first_entry(&space->lru, struct nouveau_svm_window,
					lru));
	return true;
}

/**
 * nouveau_svm_space_reclaim() - give up windows
 * @space: the space
 * @nr: how many at most
 *
 * Those that have not faulted for a while, beginning with the one that has not for
 * longest. Whether the GPU accesses memory that it can reach is not known.
 *
 * Context: May sleep. Not in reclaim, and not under the mmap lock.
 */
void nouveau_svm_space_reclaim(struct nouveau_svm_space *space,
			       unsigned long nr)
{
	struct nouveau_svm_window *window, *next;

	mutex_lock(&space->lock);
	list_for_each_entry_safe(window, next, &space->lru, lru) {
		if (!nr-- || time_before(jiffies, window->used + IDLE_TIME))
			break;
		svm_window_del(window);
	}
	mutex_unlock(&space->lock);
}

static void svm_reclaim_work(struct work_struct *work)
{
	struct nouveau_svm_space *space =
		container_of(work, struct nouveau_svm_space, reclaim);

	nouveau_svm_space_reclaim(space,
				  atomic_long_xchg(&space->to_reclaim, 0));
}

static unsigned long svm_shrink_count(struct shrinker *shrinker,
				      struct shrink_control *sc)
{
	struct nouveau_svm_space *space = shrinker->private_data;

	return READ_ONCE(space->nr_windows) ?: SHRINK_EMPTY;
}

/*
 * The end of a mirror waits for invalidations, and reclaim may be inside of one.
 * So a worker does it.
 */
static unsigned long svm_shrink_scan(struct shrinker *shrinker,
				     struct shrink_control *sc)
{
	struct nouveau_svm_space *space = shrinker->private_data;

	atomic_long_add(sc->nr_to_scan, &space->to_reclaim);
	queue_work(system_dfl_wq, &space->reclaim);
	return SHRINK_STOP;
}

/* ---- Spaces ---- */

static int svm_shrinker_init(struct nouveau_svm_space *space)
{
	struct shrinker *shrinker = shrinker_alloc(0, "drm-nouveau-svm");

	if (!shrinker)
		return -ENOMEM;
	shrinker->count_objects = svm_shrink_count;
	shrinker->scan_objects = svm_shrink_scan;
	shrinker->seeks = DEFAULT_SEEKS;
	shrinker->batch = 1;
	shrinker->private_data = space;
	space->shrinker = shrinker;
	shrinker_register(shrinker);
	return 0;
}

/* Whether any window could be mapped for this device is known before a fault. */
static int svm_probe_dma(struct device *dev)
{
	struct hmm_dma_view view;
	int ret = hmm_dma_view_init(&view, dev, NULL, 0, PAGE_SIZE);

	if (!ret)
		hmm_dma_view_destroy(&view);
	return ret;
}

static void svm_space_free(struct nouveau_svm_space *space)
{
	bitmap_free(space->wanted);
	kvfree(space->map);
}

/**
 * nouveau_svm_space_init() - begin to share an address space
 * @space: the space
 * @args: what it is made of
 *
 * Return: 0, %-ENOMEM, %-EOPNOTSUPP if the device cannot be given memory of a
 * process, or %-ENOSPC, both as hmm_dma_view_init().
 */
int nouveau_svm_space_init(struct nouveau_svm_space *space,
			   const struct nouveau_svm_space_args *args)
{
	int ret = svm_probe_dma(args->dev);

	if (ret)
		return ret;
	*space = (struct nouveau_svm_space) {
		.args = *args,
	};
	mutex_init(&space->lock);
	mt_init(&space->windows);
	INIT_LIST_HEAD(&space->lru);
	INIT_WORK(&space->reclaim, svm_reclaim_work);
	space->map = nouveau_svm_map_alloc();
	space->wanted = bitmap_alloc(NOUVEAU_SVM_WINDOW >> PAGE_SHIFT,
				     GFP_KERNEL);
	ret = space->map && space->wanted ? svm_shrinker_init(space) : -ENOMEM;
	if (ret) {
		svm_space_free(space);
		return ret;
	}
	mmgrab(args->mm);
	return 0;
}

/**
 * nouveau_svm_space_empty() - give up all windows
 * @space: the space
 *
 * The GPU reaches nothing then, and is not told of invalidations, until it faults
 * or there is a prefetch.
 *
 * Context: May sleep. Not under the mmap lock.
 */
void nouveau_svm_space_empty(struct nouveau_svm_space *space)
{
	struct nouveau_svm_window *window, *next;

	mutex_lock(&space->lock);
	list_for_each_entry_safe(window, next, &space->lru, lru)
		svm_window_del(window);
	mutex_unlock(&space->lock);
}

/**
 * nouveau_svm_space_fini() - end it
 * @space: the space
 *
 * Nothing may serve faults or prefetch any more. The process may be alive or gone.
 *
 * Context: May sleep. Not under the mmap lock.
 */
void nouveau_svm_space_fini(struct nouveau_svm_space *space)
{
	shrinker_free(space->shrinker);
	cancel_work_sync(&space->reclaim);
	nouveau_svm_space_empty(space);
	mtree_destroy(&space->windows);
	svm_space_free(space);
	mutex_destroy(&space->lock);
	mmdrop(space->args.mm);
}
