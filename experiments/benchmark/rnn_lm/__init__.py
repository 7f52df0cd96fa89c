"""The benchmark rnn_lm."""
