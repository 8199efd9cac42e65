"""Files from strangers -> arrays and messages. Every parser of untrusted bytes is here.

Sizes are checked before memory is allocated, nothing is executed, and looking at a file does not need torch.
"""
