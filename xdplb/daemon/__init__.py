# SPDX-License-Identifier: Apache-2.0
"""What runs on the balancer's or a backend's host itself: the daemon, and the commands that work without it.

Put together from `control`, `dataplane`, `net` and the API. It prints nothing: `cli` parses options, calls one function
here and prints what that returns.
"""
