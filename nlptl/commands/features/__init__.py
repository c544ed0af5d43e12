"""What `extract-features` is made of: rows, their tokens, their vectors, and the files that hold them."""
