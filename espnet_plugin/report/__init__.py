"""Figures and pages that show what an analysis found."""
