"""How fast and how small, in one run: ``make bench``. Paper-size networks, float32, seeded weights;
minutes on two cores.

Every time is the least of a few runs, after ``trace()``; memory is the peak of a process of its own
above its level after ``trace()``. Two floors are measured in the same run: one forward pass of the
network, and writing all maps of the layer once, N·H·W·4 bytes at this machine's write rate (of a
frame pair: the maps of both). "literal" is tests/literal.py, every map dense, one neuron at a time,
for a seeded few of the neurons and scaled to all.
"""
