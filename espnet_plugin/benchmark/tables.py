"""A benchmark as tables to read."""

from __future__ import annotations

from typing import Any, Dict


def markdown(result: Dict[str, Any]) -> str:
    """The tables.

    Args:
        result: of :func:`espnet_plugin.benchmark.measure.measure`.
    """
    environment = ", ".join(f"{k} {v}" for k, v in result["environment"].items() if v is not None)
    longest = result["macs_seconds"]
    lines = [
        f"Environment: {environment}.",
        "",
        f"|model|parameters (M)|encoder (M)|file (MB)|GMAC per s of speech (at {longest:g} s)|",
        "|---|---|---|---|---|",
    ]
    for name, size in result["models"].items():
        cells = [size["parameters"] / 1e6, size["encoder_parameters"] / 1e6]
        cells += [size["checkpoint_bytes"] / 1e6, size["macs_per_second"] / 1e9]
        lines.append(f"|{name}|" + "|".join(f"{cell:.3f}" for cell in cells) + "|")
    lines += [
        "",
        "|length (s)|batch|model|time (ms)|real-time factor|times as fast|peak memory (MB)|",
        "|---|---|---|---|---|---|---|",
    ]
    for row in result["speeds"]:
        least, most = row["speed_ratio_middle_half"]
        lines.append(
            f"|{row['seconds']:g}|{row['batch']}|{row['model']}|{1e3 * row['encoder_seconds']:.1f}"
            f"|{row['encoder_rtf']:.5f}|{row['speed_ratio']:.2f} ({least:.2f}–{most:.2f})"
            f"|{row['peak_bytes'] / 1e6:.0f}|"
        )
    return "\n".join(lines) + "\n"
