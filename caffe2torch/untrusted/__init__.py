"""Strangers' files -> arrays and messages. Every parser of bytes that nobody vouches for is here.

Sizes are checked before memory is taken, nothing is executed, and no torch is needed to look at a file.
"""
