"""Speed and memory against autodiff and against other libraries."""
