# SPDX-License-Identifier: Apache-2.0
"""Rules about single fields of a health check: what they may be, and what each error says."""

from __future__ import annotations

import re
from ipaddress import ip_address

from .errors import InvalidError
from .regex import RegexError, compiled
from .url_path import PATH_HINT, PATH_PATTERN

__all__ = [
    "FILE_HINT",
    "FILE_PATTERN",
    "HOST_HINT",
    "HOST_PATTERN",
    "LONGEST_NAME",
    "LONGEST_PATH",
    "LONGEST_REGEX",
    "LONGEST_TEXT",
    "LONGEST_WORD",
    "METHODS",
    "MOST_HEADERS",
    "MOST_STATUSES",
    "MOST_WORDS",
    "PATH_HINT",
    "PATH_PATTERN",
    "QUERY_NAME_PATTERN",
    "QUERY_TYPES",
    "RANGES",
    "RCODES",
    "SNI_PATTERN",
    "STATUS_PATTERN",
    "USER_PATTERN",
    "in_range",
    "refuse_answer",
    "refuse_body",
    "refuse_command",
    "refuse_file",
    "refuse_headers",
    "refuse_host",
    "refuse_one_of",
    "refuse_path",
    "refuse_query_name",
    "refuse_regex",
    "refuse_sni",
    "refuse_text",
    "refuse_user",
    "status",
    "statuses",
]

METHODS = ("GET", "HEAD", "OPTIONS")
QUERY_TYPES = ("A", "AAAA", "ANY", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "TXT")
RCODES = ("NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED")

LONGEST_PATH = 1024
LONGEST_TEXT = 1024
"""Characters of what is sent and of what is expected."""
LONGEST_REGEX = 512
MOST_HEADERS = 16
MOST_STATUSES = 32
MOST_WORDS = 64
"""Words of a command, with its path."""
LONGEST_WORD = 1024
"""Characters of a word of a command, and of the path of a file."""
LONGEST_NAME = 253
"""Characters of a host name."""
_LARGEST_PROGRAM = 256
"""Instructions of a compiled regex: a body of 64 KiB is searched in some milliseconds at worst."""

STATUS_PATTERN = r"^[1-5][0-9][0-9](-[1-5][0-9][0-9])?$"
HOST_HINT = "give a name, with a port if it needs one, without spaces"
HOST_PATTERN = r"^[!-.0-~]{1,255}$"
SNI_PATTERN = r"^([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*$"
QUERY_NAME_PATTERN = r"^(\.|([!-,\-/-\[\]-~]{1,63})(\.[!-,\-/-\[\]-~]{1,63})*\.?)$"
FILE_HINT = "give the absolute path of a file on the balancer"
FILE_PATTERN = r"^/[^\u0000-\u001f\u007f]*$"
USER_PATTERN = r"^[a-z_][a-z0-9_-]{0,31}$"
_HEADER_NAME = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]{1,128}")
_HEADER_VALUE = re.compile(r"[!-~]([ -~]*[!-~])?|")
_OWN_HEADERS = {
    "host": "give it as host",
    "connection": "a check always asks for the connection to be closed",
    "content-length": "a check sends no body",
    "transfer-encoding": "a check sends no body",
}
_LONGEST_QUERY_NAME = 253

RANGES: dict[str, tuple[float, float]] = {
    "interval_seconds": (0.05, 3600),
    "fast_interval_seconds": (0.05, 3600),
    "timeout_seconds": (0.01, 300),
    "rise": (1, 100),
    "fall": (1, 100),
    "jitter": (0, 0.5),
}
"""The least and the most of each number."""


def in_range(name: str, value: float) -> None:
    """Raise InvalidError if the number `value` is not within the range of the field `name`."""
    low, high = RANGES[name]
    if not low <= value <= high:
        raise InvalidError.field(f"/{name}", f"{name} is {value}", hint=f"give {low:g} to {high:g}")


def refuse_one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise InvalidError if `value` is none of `allowed`."""
    if value not in allowed:
        raise InvalidError.field(
            f"/{name}", f"{value!r} is not one of the choices", hint=f"use one of {', '.join(allowed)}"
        )


def refuse_path(name: str, value: str) -> None:
    """Raise InvalidError if `value` is no path of a URL."""
    if not value.startswith("/") or any(c.isspace() or not c.isprintable() for c in value):
        raise InvalidError.field(f"/{name}", f"{value!r} is not a path", hint=PATH_HINT)
    _refuse_long(name, value, LONGEST_PATH)


def refuse_host(name: str, value: str) -> None:
    """Raise InvalidError if `value` cannot be a Host header."""
    if not re.fullmatch(HOST_PATTERN, value):
        raise InvalidError.field(f"/{name}", f"{value!r} is not a host", hint=HOST_HINT)


def refuse_headers(name: str, value: tuple[tuple[str, str], ...]) -> None:
    """Raise InvalidError if these headers cannot be sent beside those that every request has."""
    if len(value) > MOST_HEADERS:
        raise InvalidError.field(f"/{name}", f"there are {len(value)} headers", hint=f"give at most {MOST_HEADERS}")
    seen: set[str] = set()
    for header, content in value:
        if hint := _OWN_HEADERS.get(header.lower()):
            raise InvalidError.field(f"/{name}", f"{header} cannot be given as a header", hint=hint)
        if not _HEADER_NAME.fullmatch(header):
            raise InvalidError.field(
                f"/{name}", f"{header!r} is not the name of a header", hint="letters, digits and -, such as X-Probe"
            )
        if not _HEADER_VALUE.fullmatch(content) or len(content) > LONGEST_TEXT:
            raise InvalidError.field(
                f"/{name}",
                f"the header {header} has a value that cannot be sent",
                hint=f"give at most {LONGEST_TEXT} ASCII characters in one line, with no space at the start or the end",
            )
        if header.lower() in seen:
            raise InvalidError.field(f"/{name}", f"the header {header} is given twice", hint="give it once")
        seen.add(header.lower())


def statuses(name: str, value: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Return the expected statuses, each range as `200-299` and each single one as a number; InvalidError if wrong."""
    if not value or len(value) > MOST_STATUSES:
        raise InvalidError.field(
            f"/{name}", f"{name} has {len(value)} entries", hint=f'give 1 to {MOST_STATUSES}, such as [200, "300-399"]'
        )
    return tuple(status(name, each) for each in value)


def status(name: str, value: object) -> int | str:
    """Return an expected status, or a range of them; a single one as a number. InvalidError if it is neither."""
    first, _, last = str(value).partition("-")
    is_kind = isinstance(value, (int, str)) and not isinstance(value, bool)
    if not is_kind or not re.fullmatch(STATUS_PATTERN, str(value), re.ASCII) or int(first) > int(last or first):
        raise InvalidError.field(
            f"/{name}",
            f"{value!r} is neither an HTTP status nor a range of them",
            hint='give statuses from 100 to 599, such as 204 or "200-299"',
        )
    return int(first) if not last or first == last else f"{first}-{last}"


def refuse_text(name: str, value: str) -> None:
    """Raise InvalidError if `value` is too long, or has characters that are not one byte each."""
    _refuse_long(name, value, LONGEST_TEXT)
    if wrong := next((c for c in value if ord(c) > 0xFF), None):
        raise InvalidError.field(
            f"/{name}",
            f"{name} has {wrong!r}, which is not one byte",
            hint=r"give bytes as characters up to U+00FF: UTF-8 is written byte by byte, ü as \u00c3\u00bc",
        )


def refuse_body(name: str, value: str) -> None:
    """Raise InvalidError if `value` cannot be looked for in a body."""
    _refuse_in_body(name, value, LONGEST_TEXT)


def refuse_regex(name: str, value: str) -> None:
    """Raise InvalidError if `value` is not a regular expression of RE2, or one that takes long to search for."""
    _refuse_in_body(name, value, LONGEST_REGEX)
    try:
        program = compiled(value).programsize
    except RegexError as error:
        raise InvalidError.field(
            f"/{name}", f"{value!r} is not a regular expression: {error}", hint="use the syntax of RE2"
        ) from None
    if program > _LARGEST_PROGRAM:
        raise InvalidError.field(
            f"/{name}",
            f"this regular expression is too large: it has {program} instructions, and {_LARGEST_PROGRAM} are allowed",
            hint="use smaller repetitions and fewer alternatives",
        )


def refuse_sni(name: str, value: str) -> None:
    """Raise InvalidError if `value` cannot be a server name of TLS."""
    try:
        ip_address(value)
    except ValueError:
        pass
    else:
        raise InvalidError.field(
            f"/{name}", f"{value!r} is an address", hint="a server name of TLS is a host name: give that, or omit it"
        )
    if len(value) > LONGEST_NAME or not re.fullmatch(SNI_PATTERN, value):
        raise InvalidError.field(f"/{name}", f"{value!r} is not a host name", hint="such as www.example.com")


def refuse_file(name: str, value: str) -> None:
    """Raise InvalidError if `value` is not an absolute path. Whether the file is there, a probe will tell."""
    if not re.fullmatch(FILE_PATTERN, value):
        raise InvalidError.field(f"/{name}", f"{value!r} is not an absolute path", hint=FILE_HINT)
    _refuse_long(name, value, LONGEST_WORD)
    _refuse_surrogates(name, value)


def refuse_query_name(name: str, value: str) -> None:
    """Raise InvalidError if `value` is no name that can be asked for."""
    if len(value.rstrip(".")) > _LONGEST_QUERY_NAME or not re.fullmatch(QUERY_NAME_PATTERN, value):
        raise InvalidError.field(
            f"/{name}", f"{value!r} is not a domain name", hint="such as www.example.com, or . for the root"
        )


def refuse_answer(name: str, value: str, query_type: str) -> None:
    """Raise InvalidError if `value` cannot be in the answer to a query of this type."""
    _refuse_long(name, value, LONGEST_TEXT)
    if not value or not value.isprintable():
        raise InvalidError.field(f"/{name}", f"{value!r} is not an answer", hint="give it as dig +short shows it")
    if (version := {"A": 4, "AAAA": 6}.get(query_type)) is None:
        return
    try:
        fits = ip_address(value).version == version
    except ValueError:
        fits = False
    if not fits:
        raise InvalidError.field(
            f"/{name}",
            f"{value!r} is not an IPv{version} address, which {query_type} records have",
            hint="give such an address, or another query_type",
        )


def refuse_command(name: str, value: tuple[str, ...]) -> None:
    """Raise InvalidError if these words cannot be run: the first must be an absolute path."""
    if not value or not value[0].startswith("/"):
        raise InvalidError.field(
            f"/{name}",
            f"{name} does not begin with an absolute path",
            hint='give a list of words, such as ["/usr/lib/xdplb/check-db", "--fast"]; no shell reads it',
        )
    if len(value) > MOST_WORDS:
        raise InvalidError.field(f"/{name}", f"{name} has {len(value)} words", hint=f"give at most {MOST_WORDS}")
    for each in value:
        _refuse_long(name, each, LONGEST_WORD)
        _refuse_surrogates(name, each)
        if "\0" in each:
            raise InvalidError.field(f"/{name}", f"{name} has a zero byte", hint="remove it")


def refuse_user(name: str, value: str) -> None:
    """Raise InvalidError if no command may be run as this user."""
    if value == "root":
        raise InvalidError.field(
            f"/{name}", "a check may not run as root", hint="give another user, whom the command needs, such as nobody"
        )
    if not re.fullmatch(USER_PATTERN, value):
        raise InvalidError.field(f"/{name}", f"{value!r} is not the name of a user", hint="such as nobody")


def _refuse_in_body(name: str, value: str, most: int) -> None:
    _refuse_long(name, value, most)
    if not value:
        raise InvalidError.field(f"/{name}", f"{name} is empty, which every body has", hint="omit it")
    _refuse_surrogates(name, value)


def _refuse_long(name: str, value: str, most: int) -> None:
    if len(value) > most:
        raise InvalidError.field(f"/{name}", f"{name} has {len(value)} characters", hint=f"give at most {most}")


def _refuse_surrogates(name: str, value: str) -> None:
    if not value.isascii() and any(0xD800 <= ord(c) <= 0xDFFF for c in value):
        raise InvalidError.field(f"/{name}", f"{name} has half a character", hint="give whole characters")
