"""Fitting a network to a clip, and how well it paints it.

What lives here: ``fit`` with its recipes and resume, PSNR. What does not: the networks themselves
(``models``) and their files (``storage``).
"""
