# SPDX-License-Identifier: Apache-2.0
"""The packet path: the program in the kernel and its maps. Only this package uses bcc and libbpf."""
