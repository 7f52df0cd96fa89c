"""Table 1 of Socher et al. (2013), every row of it, and what the models of its rows understand."""
