"""Types, states and rules, as pure functions of data. No I/O; the time is a parameter.

May import: nothing of nfresume.
"""
