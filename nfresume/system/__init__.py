"""The operating system: processes, file systems, durable writes, calls that are bounded in time.

May import: settings, domain.
"""
