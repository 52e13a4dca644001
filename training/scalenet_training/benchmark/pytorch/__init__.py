"""The networks in PyTorch, as peers, in a process of their own.

TensorFlow and PyTorch in one process can crash (`scalenet doctor` says when), and
would share threads.
"""
