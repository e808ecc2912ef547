"""Every verb a user has. The terminal and the web call nothing below this package.

May import: runs, and what runs may import.
"""
