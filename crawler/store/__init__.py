"""Pictures to where they are kept: a folder of files, or nowhere."""
