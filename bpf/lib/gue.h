/* Generic UDP Encapsulation (draft-ietf-intarea-gue), as far as the balancer and the hosts behind it speak it. */
#ifndef XDPLB_GUE_H
#define XDPLB_GUE_H

#define GUE_PORT 6080 /* destination port */

#endif
