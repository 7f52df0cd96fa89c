"""Whether what was fast is fast still: ratios against those that are committed."""
