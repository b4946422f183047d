# SPDX-License-Identifier: Apache-2.0
"""What has happened: events are kept in a file, found again, and handed on to readers."""
