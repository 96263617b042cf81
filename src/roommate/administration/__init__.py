"""The daemon as a whole, as operators and monitors see it: how it is, what is set, its end and its beginning again."""
