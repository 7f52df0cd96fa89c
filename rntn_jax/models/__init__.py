"""One module a model, the same names in each: Config, Params, init, apply, loss."""
