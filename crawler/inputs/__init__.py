"""Where targets come from: arguments, text files, standard input, and iterables of the embedding program."""
