"""The bodies of requests and responses, one noun a module.

Requests are strict: a field that is not known, `"80"` or `true` where a number is asked, is refused by name.
"""
