"""What people call: tokenize, generate, caption, evaluate, the demo and the command line."""
