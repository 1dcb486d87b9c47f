"""The head browser: what its script needs, and its markup; the pictures are in the page."""

from __future__ import annotations

from base64 import b64encode
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from espnet_plugin.report.analyses import Analysis
from espnet_plugin.report.html.markup import Section, mark_html
from espnet_plugin.report.html.media import Media, media_of


class Browsed(NamedTuple):
    """What the browser shows of one model."""

    data: Dict[str, Any]
    """For the script."""
    media: List[Media]


def browse(analysis: Analysis, number: int, most_bytes: int) -> Optional[Browsed]:
    """The examples of a model, as many as fit, the shortest first.

    Args:
        number: of the model in the page.
        most_bytes: what they may take of the page.

    Returns:
        None where there are none; ``left_out`` in the data names those that did not fit.
    """
    examples = analysis.results.get("examples")
    if examples is None or not examples["utterances"]:
        return None
    arrays = analysis.arrays("examples")
    utterances: List[Dict[str, Any]] = []
    media: List[Media] = []
    left_out, taken = [], 0
    for n, utterance in enumerate(examples["utterances"]):
        found = _media(arrays, n, utterance, f"{number}-{len(utterances)}")
        size = sum(len(one.text) for one in found)
        if taken + size > most_bytes:
            left_out.append(utterance["id"])
            continue
        taken += size
        media += found
        utterances.append(
            {
                **{key: utterance[key] for key in ("id", "seconds", "frames", "text")},
                "phones": _rounded(utterance["phones"]),
                "words": _rounded(utterance["words"]),
                "kind": str(arrays[f"kind_{n}"]),
                "outline": b64encode(arrays[f"outline_{n}"].tobytes()).decode("ascii"),
                "blocks": [_block(block) for block in utterance["blocks"]],
            }
        )
    if not utterances:
        return None
    data = {"clock": examples["clock"], "utterances": utterances, "left_out": left_out}
    return Browsed(data, media)


def _media(
    arrays: Dict[str, np.ndarray], n: int, utterance: Dict[str, Any], name: str
) -> List[Media]:
    pictures = arrays["pictures"]
    found = [
        media_of(f"s-{name}", arrays[f"sound_{n}"].tobytes()),
        media_of(f"t-{name}", arrays[f"thumbnails_{n}"].tobytes()),
    ]
    for block in utterance["blocks"]:
        for head in block["heads"]:
            part = pictures[head["place"] : head["place"] + head["bytes"]].tobytes()
            found.append(media_of(f"p-{name}-{block['block']}-{head['head']}", part))
    return found


def _rounded(intervals: Sequence[Sequence[Any]]) -> List[List[Any]]:
    return [[round(start, 4), round(end, 4), label] for start, end, label in intervals]


def _block(block: Dict[str, Any]) -> Dict[str, Any]:
    heads = [
        {
            key: float(f"{value:.5g}")
            for key, value in head.items()
            if key not in ("head", "place", "bytes")
        }
        for head in block["heads"]
    ]
    return {"block": block["block"], "heads": heads}


def section(browsed: Sequence[Optional[Browsed]]) -> Optional[Section]:
    """The section; None where no model has examples."""
    there = [one for one in browsed if one is not None]
    if not there:
        return None
    left_out = sorted({name for one in there for name in one.data["left_out"]})
    note = (
        f"<p>Left out, since the page would be too large: {', '.join(left_out)}.</p>"
        if left_out
        else ""
    )
    return Section("browser", "Head browser", _MARKUP.replace("@note", note))


_MARKUP = f"""
<p class="lead">Pick an utterance and a head: its map, with the phones of the utterance on both axes
and its sound. Rows are queries from top to bottom, columns the keys that they attend to.</p>
<div class="browser">
<div>
<div class="controls">
<label>Model <select id="pick-model"></select></label>
<label>Utterance <select id="pick-utterance"></select></label>
</div>
<div class="grid" id="grid" role="radiogroup" aria-label="Head: blocks down, heads across"></div>
<h3 id="head-name" aria-live="polite"></h3>
<dl class="about" id="head-figures"></dl>
<p class="quiet">Figures of this utterance, from the exact maps. Nats are natural units of
entropy.</p>
</div>
<div>
<div class="controls noprint">
<label>Colours <select id="pick-colours"><option value="magma">Magma</option>
<option value="cividis">Cividis</option><option value="grey">Grey, for print</option></select>
</label>
<label>Small weights <input type="range" id="gain" min="0.6" max="3" step="0.1" value="1"></label>
<button type="button" id="zoom-in" aria-label="Zoom in">+</button>
<button type="button" id="zoom-out" aria-label="Zoom out">−</button>
<button type="button" id="zoom-reset">Whole map</button>
<button type="button" id="keep">Keep this map to compare</button>
</div>
<div class="transport"><audio id="audio" controls preload="auto"></audio>
<label class="quiet">Speed <select id="speed"><option>0.25</option><option>0.5</option>
<option selected>1</option></select></label></div>
<div class="words" id="words" role="group" aria-label="Transcript; choose a word to go there"></div>
<div class="maps" id="maps">
<div><p class="caption" id="shown-name" hidden></p>
<div class="stage" id="stage"></div>
<img class="printed" id="printed" alt="The map that is shown" src="data:,">
<div class="readout" id="readout" role="status">Point at the map to read a weight.</div></div>
<div id="kept" role="region" aria-labelledby="kept-name" hidden>
<p class="caption"><span id="kept-name"></span>
<button type="button" id="let-go">Let it go</button></p>
<div class="stage" id="kept-stage"></div>
<img class="printed" id="printed-kept" alt="The map that is kept" src="data:,">
<div class="readout" id="kept-readout"></div></div>
</div>
<p class="quiet">The map is a picture (<span id="quality"></span>) on a square-root scale of 255
levels: weights read from it are approximate {mark_html("I")}.</p>
<details class="keys" id="keys"><summary>Keys and pointer</summary>
<p>Wheel or pinch: zoom; drag: move; click: go there in the sound; double click: the whole map. With
the map in focus: <kbd>←</kbd> <kbd>↑</kbd> <kbd>→</kbd> <kbd>↓</kbd> read weights,
<kbd>Shift</kbd> with them moves, <kbd>+</kbd> <kbd>−</kbd> <kbd>0</kbd> zoom, <kbd>Space</kbd>
plays, <kbd>Enter</kbd> goes there in the sound. In the grid of heads arrow keys walk over blocks
and heads. A map that is kept stays beside the others, of this model and of others, at the same
time of the same utterance.</p></details>
@note
</div>
</div>
"""
