"""Slow, obviously right Python versions of the native algorithms.

They teach how each algorithm works and are the oracle of the tests: the native code must agree
with them on every input. Nothing in the package uses them at run time.
"""
