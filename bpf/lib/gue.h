/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Generic UDP Encapsulation (draft-ietf-intarea-gue), as far as the balancer and its backends use it. */
#ifndef XDPLB_GUE_H
#define XDPLB_GUE_H

#define GUE_PORT 6080 /* destination port */

#endif
