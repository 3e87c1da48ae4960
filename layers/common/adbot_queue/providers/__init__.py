"""The providers' APIs, one module each: credentials, clients, timeouts, and what their errors mean.

Nowhere else is a provider spoken to. A library that takes time to import is imported when it is first used.
"""
