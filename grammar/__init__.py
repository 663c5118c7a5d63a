"""The query language of medical image sets: text in, search criteria out; problems with their places and fixes."""
