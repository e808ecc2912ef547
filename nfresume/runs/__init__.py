"""One attempt, from the checks before it starts to the deletion of its work dir, and the sweep.

May import: billing, and what billing may import.
"""
