"""Small helpers that know nothing of networks: files and folders, progress, memory.

What lives here: what more than one room needs and no library offers. What does not: anything that
knows what a clip, a network or a map is.
"""
