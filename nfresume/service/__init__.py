"""Everything that a user can do. The terminal and the web call only this package, and nothing below it.

May import: runs, and what runs may import.
"""
