# SPDX-License-Identifier: Apache-2.0
"""Planning the steps that bring the maps to the desired state. Pure functions."""
