"""Checks that the datasets of a window, and what was landed of them, agree. Pure, like the protocol."""
