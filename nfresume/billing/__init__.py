"""What retained storage costs: prices, usage over time, the report, AWS's bill. Enforces budgets.

May import: retained, and what retained may import.
"""
