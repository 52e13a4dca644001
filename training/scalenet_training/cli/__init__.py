"""The command line: which commands there are, how they are parsed and end."""
