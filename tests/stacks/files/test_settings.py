"""Configurations of any form give checked values; fairseq's lists are read, not run."""

from __future__ import annotations

import pytest

from espnet_plugin.stacks.files.inert import Record
from espnet_plugin.stacks.files.settings import Settings, check_convolutions, convolutions
from espnet_plugin.stacks.files.stored import FileError

LAYERS = ((512, 10, 5), *[(512, 3, 2)] * 4, *[(512, 2, 2)] * 2)


def test_values_have_the_type_of_their_default():
    settings = Settings({"a": 3, "b": None, "c": 1, "d": [1, 2], "e": "x"})
    assert settings.value("a", 1) == 3 and settings.value("b", 5) == 5
    assert settings.value("c", 0.5) == 1.0 and settings.value("d", ()) == (1, 2)
    assert settings.value("e", "") == "x" and settings.value("missing", True) is True
    assert "a" in settings and "b" not in settings
    for name, default in (("a", "text"), ("a", True), ("c", False), ("e", 1), ("d", "text")):
        with pytest.raises(FileError, match=f"has {name}: "):
            settings.value(name, default)


def test_records_of_namespaces_omegaconf_and_enumerators():
    node = Record("omegaconf.nodes.AnyNode", state={"_val": 12, "_parent": None})
    choice = Record("fairseq.Choice", args=("layer_norm",))
    container = Record("omegaconf.dictconfig.DictConfig", state={"_content": {"blocks": node}})
    container.state["_parent"] = container  # as OmegaConf's: nodes know their parents
    namespace = Record("argparse.Namespace", state={"cfg": container, "mode": choice})
    settings = Settings(namespace)
    assert settings.value("mode", "") == "layer_norm"
    assert settings.section("cfg").value("blocks", 0) == 12
    assert not settings.section("missing") and not Settings([1])


def test_required_values():
    settings = Settings({"a": "relu"})
    settings.require("missing", "gelu")
    with pytest.raises(FileError, match="a: 'relu'; only 'gelu' can be loaded"):
        settings.require("a", "gelu")


@pytest.mark.parametrize(
    "text",
    [
        "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] + [(512,2,2)]",
        "[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2",
        str([list(layer) for layer in LAYERS]),
    ],
)
def test_convolutions(text):
    assert convolutions(text) == LAYERS


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "12",
        "[(1, 2)]",
        "[(1, 2, 3)] * 1000000000",
        "[(1, 2, -3)]",
        "[(1, 2, 99999999)]",
        "[(1, 2, True)]",
        "[(1, 2, 3.0)]",
        "[(1, 2, 3)] + 1",
        "__import__('os').system('touch hacked')",
        "[(1, 2, (lambda: 3)())]",
        "[x for x in [(1, 2, 3)]]",
        "(" * 5000,
        "[(1, 2, 3)]" + " + [(1, 2, 3)]" * 5000,
        "\0",
    ],
)
def test_other_expressions_are_refused(text):
    with pytest.raises(FileError, match="no convolutions"):
        convolutions(text)


def test_lists_of_convolutions():
    assert check_convolutions([[8, 3, 2]]) == ((8, 3, 2),)
    for wrong in (None, [], [(1, 2)], [(1, 2, "3")], "text", [(0, 1, 1)]):
        with pytest.raises(FileError):
            check_convolutions(wrong)
