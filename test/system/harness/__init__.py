"""What the scenarios stand on: processes, a scripted gateway, a plain HTTP client, bodies.

Nothing here knows what the proxy should do; the scenarios say that.
"""
