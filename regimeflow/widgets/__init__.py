"""Dashboards: a roof over sessions, which know nothing of it.

It reads snapshots and journals, and posts commands. ``board`` folds a run into what is shown,
``pump`` brings that to the pages that show it, ``frozen`` and ``terminal`` show it without one.
"""
