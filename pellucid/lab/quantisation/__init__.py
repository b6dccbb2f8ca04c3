"""Weights in fewer bits: the kinds there are, which layers take them, and what they cost, measured beside the original.

from pellucid.lab.quantise import quantise
"""
