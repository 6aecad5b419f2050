"""Impetus serves local language models to coding agents and shows, live, what the machine does.

This folder is the package `impetus`; `__main__.py` opens the program, `docs/architecture.md` says where everything stands.
"""
