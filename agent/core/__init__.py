"""The rules: values in, values out.

Nothing in here does I/O, reads a clock or draws a random number.
"""
