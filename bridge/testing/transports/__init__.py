"""Servers in process: each calls one app as a good server of its interface does."""
