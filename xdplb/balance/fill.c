/* Fills the free slots of a table. xdplb/balance/fill.py, which calls this, has the same in Python and says what it does.
 *
 * It needs no C library, so that any C compiler can make it when xdplb is installed.
 */
#include <stdint.h>

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
