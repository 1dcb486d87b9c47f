"""Speed perturbation with the audio written out, as ESPnet's recipes want it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Sequence

from espnet_plugin.progress import progress


def perturb_speed(cuts: Any, factors: Sequence[float], audio_dir: Path, final_dir: Path) -> Any:
    """The cuts at each speed; a factor of 1 keeps the original.

    Args:
        cuts: lhotse CutSet; each cut has one recording and one supervision.
        factors: speeds, for example ``(0.9, 1.0, 1.1)``.
        audio_dir: where the perturbed FLAC files are written.
        final_dir: where ``audio_dir`` will be in the end; the manifests point there.

    Returns:
        A CutSet. Ids of utterances, recordings and speakers get the prefix ``sp0.9-``;
        durations and alignments are divided by the factor.
    """
    from lhotse import CutSet, Recording

    perturbed = []
    for factor in factors:
        for cut in progress(cuts, f"speed {factor:g}"):
            if factor == 1.0:
                perturbed.append(cut)
                continue
            prefix = f"sp{factor:g}-"
            fast = cut.perturb_speed(factor)
            supervision = fast.supervisions[0]
            path = audio_dir / f"{prefix}{cut.id}.flac"
            path.parent.mkdir(parents=True, exist_ok=True)
            saved = Recording.from_file(
                fast.save_audio(str(path)).recording.sources[0].source,
                recording_id=prefix + cut.id,
            )
            saved.sources[0].source = os.path.abspath(final_dir / path.name)
            supervision.id = supervision.recording_id = saved.id
            supervision.speaker = prefix + supervision.speaker
            supervision.start, supervision.duration = 0.0, saved.duration
            made = saved.to_cut()
            made.id = saved.id
            made.supervisions = [supervision]
            perturbed.append(made)
    return CutSet.from_cuts(perturbed)
