"""The composition root: the one package that names concrete adapters.

Each adapter is imported when the configuration first needs it, so that nobody pays for a CA, a
store or a server that is not used.
"""
