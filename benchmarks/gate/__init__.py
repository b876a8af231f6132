"""The gate: has the deterministic figure grown on a small fixed set of real kernels?"""
