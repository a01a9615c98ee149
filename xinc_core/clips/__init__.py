"""Clips: frames, and what is known about them.

What lives here: reading videos, pictures, folders and masks, how a frame is cut and resized, the
data sets, the drawn scene. What does not: networks, and anything that is computed from frames.
"""
