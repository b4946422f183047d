# SPDX-License-Identifier: Apache-2.0
"""What `xdplb config convert` writes is a config file without a fault, whatever it is made from."""

from __future__ import annotations

import gzip
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from xdplb.config.document import read_document
from xdplb.convert.convert import Source, convert
from xdplb.convert.notes import ConvertError
from xdplb.daemon.config_file import check_document

from .cli_harness import in_process

KEEPALIVED = """\
global_defs {
    router_id lb1
}
virtual_server 203.0.113.10 80 {
    delay_loop 2
    lb_algo wrr
    lb_kind DR
    real_server 10.0.0.11 80 {
        weight 2
        TCP_CHECK {
            connect_timeout 1
            retry 2
            delay_before_retry 2
        }
    }
}
"""
SAMPLES = Path(os.environ.get("XDPLB_KEEPALIVED_SAMPLES", "/usr/share/doc/keepalived/samples"))
"""Where Debian's package has them. They are read where it is installed."""


def is_right(text: str, folder: Path) -> bool:
    """Return whether a config file has no fault, as `xdplb config check` sees it."""
    (folder / "made.toml").write_text(text)
    check_document(read_document(str(folder / "made.toml")))
    return True


def test_it_writes_the_file_and_tells_the_rest(tmp_path: Path) -> None:
    source, made = tmp_path / "keepalived.conf", tmp_path / "config.toml"
    source.write_text(KEEPALIVED)
    told = in_process("config", "convert", "--from", "keepalived", str(source), "-o", str(made))
    assert told.returncode == 1
    assert told.stdout == ""
    assert told.stderr == f"{source}:2: left out: router_id lb1: it is a setting of keepalived itself\n"
    assert in_process("config", "check", "-f", str(made)).returncode == 0
    again = in_process("config", "convert", "--from", "keepalived", str(source), "-o", str(made))
    assert again.returncode == 4


def test_a_file_that_is_wholly_converted_is_exit_0_and_goes_to_stdout(tmp_path: Path) -> None:
    source = tmp_path / "keepalived.conf"
    source.write_text(KEEPALIVED.partition("}\n")[2])
    told = in_process("config", "convert", "--from", "keepalived", str(source))
    assert (told.returncode, told.stderr) == (0, "")
    assert is_right(told.stdout, tmp_path)


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (["--from", "keepalived", "none.conf"], 2, "cannot be read"),
        (["--from", "ipvsadm", "bad"], 2, "bad:1: "),
        (["--from", "haproxy", "bad"], 2, "keepalived"),
        (["bad"], 2, "--from"),
        (["--from", "ipvsadm", "good", "-o", "x.yaml"], 2, "writes TOML"),
        (["--from", "ipvsadm", "good", "-o", "none/x.toml"], 1, "cannot write"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int, why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad").write_text("virtual_server")
    Path("good").write_text("-A -t 203.0.113.10:80 -s rr\n")
    told = in_process("config", "convert", *words)
    assert told.returncode == code
    assert why in told.stderr
    assert told.stdout == ""


def test_stdin_is_read_too() -> None:
    command = [str(Path(sys.executable).with_name("xdplb")), "config", "convert", "--from", "ipvsadm", "-"]
    given = "-A -t 203.0.113.10:80 -s rr\n-a -t 203.0.113.10:80 -r 10.0.0.11:80 -g -w 1\n"
    told = subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=60)
    assert told.returncode == 0, told.stderr
    assert "# from <stdin>:1" in told.stdout


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="keepalived is not installed")
def test_the_examples_of_keepalived_become_files_without_a_fault(tmp_path: Path) -> None:
    files = sorted(SAMPLES.glob("keepalived.conf*"))
    assert len(files) > 15
    for file in files:
        text = gzip.decompress(file.read_bytes()).decode() if file.suffix == ".gz" else file.read_text()
        (tmp_path / file.name).write_text(text)
        written, notes = convert(Source.KEEPALIVED, str(tmp_path / file.name), "high")
        assert is_right(written, tmp_path), file.name
        assert notes, file.name
        services = [line for line in text.splitlines() if line.startswith("virtual_server ") and "fwmark" not in line]
        assert bool(services) is ("[[vips]]" in written), file.name


STATEMENTS = """\
delay_loop 6|delay_loop 0|delay_loop 1e9|lb_algo rr|lb_algo wlc|lb_algo sh|lb_algo mh|mh-port|lb_kind DR|lb_kind NAT
lb_kind TUN|lvs_method TUN type gue port 6080|protocol UDP|protocol TCP|protocol SCTP|persistence_timeout 5|quorum 2
alpha|omega|inhibit_on_failure|snmp_name web|snmp_name WEB|sorry_server 10.0.0.99|virtualhost a|retry 200|retry -1
connect_timeout 0|connect_timeout 1000|weight 5|weight 70000|weight x|uthreshold 7|@main alpha|@other omega|$A=5
weight $A|made_up|real_server|real_server x y|virtual_server|ops|ip_family inet6|warmup 3
real_server 10.0.0.1 80 {|real_server 10.0.0.1 80 {|real_server 10.0.0.2 81 {|real_server 2001:db8::1 80 {
TCP_CHECK {|HTTP_GET {|SSL_GET {|MISC_CHECK {|PING_CHECK {|DNS_CHECK {|url {|}|}|}|}|path /a|path a b
status_code 200-599|status_code 1|status_code x|connect_port 0|connect_port 8080|connect_port 99999|digest a|regex "a b"
virtual_server 203.0.113.1 80 {|virtual_server 203.0.113.1 0 {|virtual_server 2001:db8::1 443 {|virtual_server group g {
virtual_server fwmark 3 {|virtual_server 203.0.113.1-9 80 {|virtual_server_group g {|203.0.113.8/29 80|203.0.113.3 0
global_defs {|lvs_timeouts tcp 5 udp 99999|vrrp_instance x {|~SEQ(N, 1, 3) weight ${N}|"|\\\\
""".replace("\n", "|").split("|")  # fmt: skip


def test_random_statements_become_a_file_without_a_fault_or_an_error_with_a_line(tmp_path: Path) -> None:
    chance = random.Random(10)
    file = tmp_path / "keepalived.conf"
    made = refused = 0
    for _ in range(400):
        lines, depth = [], 0
        for _ in range(chance.randrange(1, 40)):
            statement = chance.choice(STATEMENTS)
            depth += statement.count("{") - statement.count("${") - statement.count("}") + statement.count("${N}")
            lines.append(statement)
        file.write_text("\n".join(lines + ["}"] * max(0, depth)) + "\n")
        try:
            written, _ = convert(Source.KEEPALIVED, str(file), "main")
        except ConvertError:
            refused += 1
        else:
            made += "[[vips]]" in written
            assert is_right(written, tmp_path), file.read_text()
    assert made > 20
    assert refused > 20
