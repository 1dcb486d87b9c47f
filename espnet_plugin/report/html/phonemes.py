from __future__ import annotations


def section(analyses, figures):
    return None


def relation_data(analyses):
    return None
