"""Findings: what is measured and what is drawn, one file each."""
