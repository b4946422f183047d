/* SPDX-License-Identifier: Apache-2.0 */
/* Fills the free slots of a table. xdplb/balance/fill.py, which calls this, has the same in Python and says what it does.
 *
 * It needs no C library, so that any C compiler can make it when xdplb is installed.
 */
#include <stdint.h>

struct surplus {
	int64_t slots; /* beyond the backend's share; all are in the same unit, a fraction of a slot */
	int64_t backend;
};

void xdplb_fill(uint16_t *places, uint32_t size, uint32_t *cursors, const uint32_t *skips,
                const uint16_t *turns, uint32_t count)
{
	for (uint32_t turn = 0; turn < count; turn++) {
		uint32_t backend = turns[turn], slot = cursors[backend], skip = skips[backend];

		while (places[slot]) {
			slot += skip;
			if (slot >= size)
				slot -= size;
		}
		places[slot] = backend + 1;
		cursors[backend] = slot;
	}
}

static int is_before(struct surplus one, struct surplus other)
{
	return one.slots < other.slots || (one.slots == other.slots && one.backend < other.backend);
}

/* Puts `item` where it belongs at `place` of a binary heap or below it. */
static void sift_down(struct surplus *heap, uint32_t size, uint32_t place, struct surplus item)
{
	for (;;) {
		uint32_t child = 2 * place + 1;

		if (child >= size)
			break;
		if (child + 1 < size && is_before(heap[child + 1], heap[child]))
			child++;
		if (!is_before(heap[child], item))
			break;
		heap[place] = heap[child];
		place = child;
	}
	heap[place] = item;
}

/* `heap` has the `size` backends that take turns in any order, at least one; a slot is `total` units. */
void xdplb_turns(struct surplus *heap, uint32_t size, int64_t total, uint16_t *turns, uint32_t count)
{
	for (uint32_t place = size / 2; place-- > 0;)
		sift_down(heap, size, place, heap[place]);
	for (uint32_t turn = 0; turn < count; turn++) {
		struct surplus first = heap[0];

		turns[turn] = first.backend;
		first.slots += total;
		sift_down(heap, size, 0, first);
	}
}
