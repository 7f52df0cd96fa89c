"""Raw text to Universal Dependencies: training and measuring of the pieces."""
