import importlib

import pytest

from espnet_plugin.lazy import lazy_names

PACKAGES = ("decode", "distill", "stacks", "surgery")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_there(package):
    module = importlib.import_module(f"espnet_plugin.{package}")
    if package == "decode":
        pytest.importorskip("k2", reason="environment modern has no k2")
    for name in module.__all__:
        value = getattr(module, name)
        if not name.isupper():  # a constant knows no module
            assert value.__module__.startswith(f"espnet_plugin.{package}")
    assert set(module.__all__) <= set(dir(module))


def test_a_name_is_imported_once_and_kept():
    package = {"__name__": "espnet_plugin.surgery"}
    find, names = lazy_names(package, {"plan": ("BlockPlan",)})
    assert "BlockPlan" not in package
    from espnet_plugin.surgery.plan import BlockPlan

    assert find("BlockPlan") is BlockPlan is package["BlockPlan"]
    assert names() == ["BlockPlan", "__name__"]


def test_an_unknown_name_is_an_attribute_error():
    find, _ = lazy_names({"__name__": "espnet_plugin.surgery"}, {})
    with pytest.raises(AttributeError, match=r"'espnet_plugin.surgery' has no attribute 'Plan'"):
        find("Plan")
