# SPDX-License-Identifier: Apache-2.0
"""The command line, one file per noun. Imports of `xdplb.daemon` are lazy, so that a client command starts quickly."""
