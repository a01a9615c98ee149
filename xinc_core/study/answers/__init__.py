"""From measurements to answers.

What lives here: the conditions of a claim, verdicts on a clip and over clips, and the table that
holds them. What does not: measuring, and drawing.
"""
