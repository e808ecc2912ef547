"""The operating system: processes, file systems, durable writes, calls with a timeout.

May import: settings, domain.
"""
