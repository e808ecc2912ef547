"""What retained storage costs: prices, usage over time, the report, budgets enforced, AWS's bill.

May import: retained, and what retained may import.
"""
