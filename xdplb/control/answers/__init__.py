# SPDX-License-Identifier: Apache-2.0
"""Answers to users: views of the desired state and of the status. Nothing here changes anything."""
