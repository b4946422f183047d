# SPDX-License-Identifier: Apache-2.0
"""Config files: TOML or YAML to data, with the line and column of every value, and data to commented TOML.

What a config file may have is said by the schema in `xdplb_api.schemas.config`; here is only how it is written.
"""
