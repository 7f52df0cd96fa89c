"""CRFs on graphs: images by grids, by several ways of learning."""
