# SPDX-License-Identifier: Apache-2.0
"""The REST API: a FastAPI application over the control plane. FastAPI is used only here."""
