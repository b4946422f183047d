# SPDX-License-Identifier: Apache-2.0
"""The store that balancers share, in etcd v3: a client of its JSON gateway, and the repository made with it."""
