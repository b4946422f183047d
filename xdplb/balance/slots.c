/* SPDX-License-Identifier: Apache-2.0 */
/* The passes over all slots of a table. Their callers in xdplb/balance (slots.py, pattern.py) and in xdplb/dataplane
 * (vip_tables.py) have the same in numpy and say what each is for. Like fill.c it needs no C library.
 */
#include <stdint.h>

#define PINNED 0xffff
#define OWNER(slot) ((slot)&0xffff)
#define PREVIOUS(slot) ((slot) >> 16)

void xdplb_move(const uint32_t *current, const uint16_t *owners, const uint8_t *gone, uint32_t size,
                uint32_t *slots)
{
	for (uint32_t number = 0; number < size; number++) {
		uint32_t owner = OWNER(current[number]), previous = PREVIOUS(current[number]);

		if (previous != 0 && previous != PINNED) {
			if (gone[previous])
				previous = PINNED;
		} else if (owner != owners[number] && owner != 0 && !gone[owner]) {
			previous = owner;
		}
		slots[number] = owners[number] | previous << 16;
	}
}

/* Fills `seen`, zeros for each id there can be, and returns how many owners there are, the slots without one left out.
 */
uint32_t xdplb_places(const uint16_t *owners, uint32_t size, uint16_t *seen, uint16_t *places, uint16_t *ids)
{
	uint32_t count = 0;

	for (uint32_t number = 0; number < size; number++) {
		uint32_t owner = owners[number];

		if (owner != 0 && seen[owner] == 0) {
			ids[count++] = owner;
			seen[owner] = count;
		}
		places[number] = seen[owner];
	}
	return count;
}

void xdplb_owners8(const uint8_t *places, const uint16_t *ids, uint32_t size, uint16_t *owners)
{
	for (uint32_t number = 0; number < size; number++)
		owners[number] = ids[places[number]];
}

void xdplb_owners16(const uint16_t *places, const uint16_t *ids, uint32_t size, uint16_t *owners)
{
	for (uint32_t number = 0; number < size; number++)
		owners[number] = ids[places[number]];
}

/* Writes the slots that differ from `slots` into a table that packets are using: each by one store, and after all that
 * was written before.
 */
void xdplb_store(uint32_t *table, const uint32_t *slots, uint32_t size)
{
	__atomic_thread_fence(__ATOMIC_RELEASE);
	for (uint32_t number = 0; number < size; number++) {
		if (__atomic_load_n(&table[number], __ATOMIC_RELAXED) != slots[number])
			__atomic_store_n(&table[number], slots[number], __ATOMIC_RELAXED);
	}
}
