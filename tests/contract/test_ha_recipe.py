# SPDX-License-Identifier: Apache-2.0
"""The recipe for a cluster in docs/ha.md: its commands and files are those that the lab runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from cluster.world import EXAMPLES, VIPS, World
from xdplb.cli.main import cli
from xdplb.net.lab_cluster import ClusterLab
from xdplb.net.lab_routing import Bird, Frr

PAGE = Path(__file__).parents[2] / "docs/ha.md"
UNIT = Path(__file__).parents[2] / "debian/xdplb.service"
FILES = ("bird-balancer.conf", "bird-router.conf", "frr-balancer.conf", "frr-router.conf")


def _commands() -> list[str]:
    """Return the commands of the recipe."""
    recipe = PAGE.read_text(encoding="utf-8").split("## A cluster with BGP\n")[1].split("\n## ")[0]
    return [line.strip() for line in recipe.splitlines() if line.startswith("    ")]


@pytest.mark.parametrize(("balancer", "kind"), [("balancer1", Frr), ("balancer2", Bird)])
def test_the_recipe_starts_balancers_as_the_lab_does(balancer: str, kind: type[Bird | Frr]) -> None:
    """The lab gives the name of the node; the recipe leaves it to be that of the host."""
    options = World(ClusterLab(), {balancer: kind}).node_options(balancer)
    assert options[:2] == ["--node", balancer]
    said = f"""sed -i 's/^OPTIONS=.*/OPTIONS="{shlex.join(options[2:])}"/' /etc/default/xdplb"""
    assert (said in _commands()) is (kind is Frr)


def test_the_recipe_has_the_steps_of_the_lab() -> None:
    commands = _commands()
    options = " ".join(Frr.ZEBRA_OPTIONS)
    assert f"""sed -i 's/^zebra_options="/&{options} /' /etc/frr/daemons""" in commands
    for vip in VIPS.values():
        assert f"xdplb backend-host setup {vip}" in commands


@pytest.mark.parametrize("name", [*FILES, "router-sysctl.conf", "vips.toml", "xdplb-bgp.conf", "xdplb-pair.conf"])
def test_each_file_is_there_and_the_recipe_names_it(name: str) -> None:
    assert (EXAMPLES / name).is_file()
    assert name in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["xdplb-bgp.conf", "xdplb-pair.conf"])
def test_a_drop_in_adds_to_what_the_unit_of_the_package_runs(name: str) -> None:
    (runs,) = re.findall(r"(?m)^ExecStart=(.+)$", UNIT.read_text(encoding="utf-8"))
    section, none, *lines = [
        line for line in (EXAMPLES / name).read_text(encoding="utf-8").splitlines() if line and line[0] != "#"
    ]
    assert (section, none, len(lines)) == ("[Service]", "ExecStart=", 1), "all else of the unit stays"
    words = lines[0].removeprefix("ExecStart=").split()
    places = [words.index(word) for word in runs.split()]
    assert places == sorted(places), "the NICs first; options of the host last, since the last one counts"
    assert (places[0], places[-1]) == (0, len(words) - 1)


def test_the_commands_of_the_recipe_have_the_options_that_they_name() -> None:
    for command in _commands():
        words = shlex.split(command)
        if words[0] != "xdplb":
            continue
        path = [word for word in words[1:3] if word.replace("-", "").isalpha()][: 1 if words[1] == "up" else 2]
        told = CliRunner().invoke(cli, [*path, "--help"])
        assert told.exit_code == 0, command
        for option in (word for word in words if word.startswith("--")):
            assert option in told.output, command
