"""What nfresume decides, as data in and data out: types, states, rules, words. No I/O, and no clock.

May import: nothing of nfresume.
"""
