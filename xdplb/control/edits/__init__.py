# SPDX-License-Identifier: Apache-2.0
"""Changes to the desired state, as pure functions. Each checks everything first, then returns the next state or raises.

An edit that changes nothing returns the same object that it was given.
"""
