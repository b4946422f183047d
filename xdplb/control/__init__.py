# SPDX-License-Identifier: Apache-2.0
"""The control plane: desired state in, map contents out, by a single writer."""
