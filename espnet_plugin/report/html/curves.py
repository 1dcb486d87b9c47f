from __future__ import annotations


def section(analyses, extras, figures):
    return None
